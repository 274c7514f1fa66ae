"""Vulnerability audit, the last step of `make check`.

Checks the installed packages and the pinned packages of the boards against the vulnerability database. The exit code
is 1 if a package has a known vulnerability. If the database cannot be reached, a message is printed and the exit code
is 0, so that `make check` works offline.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
ACCEPTED: dict[str, str] = {}
"""Vulnerabilities that do not affect edgepose: id and reason."""


def audit(*options: str) -> list[dict[str, Any]]:
    """Run pip-audit and return its entries: `name`, `version`, `vulns`, or `skip_reason`."""
    command = [sys.executable, "-P", "-m", "pip_audit", "--format", "json", "--progress-spinner", "off", *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    try:
        return list(json.loads(done.stdout)["dependencies"])
    except (ValueError, KeyError):
        reason = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        return [{"name": " ".join(options), "skip_reason": reason}]


def main() -> int:
    """Print the vulnerabilities and return the exit code."""
    pins = sorted((ROOT / "device/deploy/pins").glob("*.txt"))
    entries = audit("--skip-editable")
    for path in pins:
        entries += audit("--no-deps", "--disable-pip", "--requirement", str(path))
    audited = [entry for entry in entries if "vulns" in entry]
    found = {
        f"{entry['name']} {entry['version']}: {vulnerability['id']}, fixed in "
        f"{', '.join(vulnerability['fix_versions']) or 'no version yet'}"
        for entry in audited
        for vulnerability in entry["vulns"]
        if vulnerability["id"] not in ACCEPTED
    }
    for line in sorted(found):
        print(line, file=sys.stderr)
    if len(audited) < len(entries):
        missing = next(entry for entry in entries if "vulns" not in entry)
        why = f" (the first: {missing['skip_reason'][:200]})"
        print(f"{len(entries) - len(audited)} of {len(entries)} packages could not be looked up{why}", file=sys.stderr)
    print(f"vulnerability database: {len(audited)} packages looked up, {len(found)} findings")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
