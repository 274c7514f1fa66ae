"""Click commands with typed options, help in sections, and errors in one line."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, NoReturn, TypeVar

import click
from click.shell_completion import CompletionItem

from ..io.atomic import try_expand_home
from ..io.messages import Verbosity, set_verbosity

if TYPE_CHECKING:
    ParamType = click.ParamType[Any]
else:
    ParamType = click.ParamType  # not generic before click 8.4

Options = TypeVar("Options")
COMMON_SECTION = "Common options"
EXIT_CODES = {0: "done", 2: "wrong arguments, input that cannot be read, or output that cannot be written"}
"""Exit codes that every command has."""
_MAX_HELP_COLUMNS = 100


class Option(click.Option):
    """An option that is listed in a section of the help text and given at most once, unless `multiple` is set."""

    def __init__(self, *names: str, section: str = "Options", **attributes: Any) -> None:
        super().__init__(list(names), **attributes)
        self.section = section


class Argument(click.Argument):
    """A positional argument with a help text."""

    def __init__(self, name: str, help: str, **attributes: Any) -> None:
        super().__init__([name], **attributes)
        self.help_text = help


class Choice(ParamType):
    """One of several allowed words."""

    name = "choice"

    def __init__(self, words: Sequence[str]) -> None:
        self.words = tuple(words)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the word. Fails with the nearest word if it is not one of them."""
        if value in self.words:
            return str(value)
        near = difflib.get_close_matches(str(value), self.words, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise click.BadParameter(f"expected {join_words(self.words)}, got {value!r}{hint}", ctx, param)

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """Return the words that begin with what was typed."""
        return [CompletionItem(word) for word in self.words if word.startswith(incomplete)]

    def get_metavar(self, param: click.Parameter, ctx: click.Context | None = None) -> str:
        """Return the words, as the help text shows them."""
        return "|".join(self.words)


class Number(ParamType):
    """A number in a range, limits included."""

    name = "number"

    def __init__(self, kind: type[int] | type[float], least: float | None = None, most: float | None = None) -> None:
        self.kind = kind
        self.least = least
        self.most = most

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | float:
        """Return the number. Fails if it is none, not finite or out of the range."""
        try:
            number = self.kind(value)
        except (ValueError, TypeError, OverflowError):
            self._fail(value)
        if not float("-inf") < number < float("inf"):
            self._fail(value)
        if (self.least is not None and number < self.least) or (self.most is not None and number > self.most):
            self._fail(value)
        return number

    def _fail(self, value: Any) -> NoReturn:
        form = "{:d}" if self.kind is int else "{:g}"
        least, most = (None if end is None else form.format(self.kind(end)) for end in (self.least, self.most))
        if least is not None and most is not None:
            wanted = f"{least} to {most}"
        elif least is not None:
            wanted = f"{least} or more"
        elif most is not None:
            wanted = f"at most {most}"
        else:
            wanted = "a whole number" if self.kind is int else "a number"
        self.fail(f"expected {wanted}, got {value}")


class PathName(ParamType):
    """A file or folder; shells complete its name."""

    def __init__(self, kind: str = "file") -> None:
        self.name = kind

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        """Return the path, with `~` expanded: shells leave `--option=~/x` alone."""
        if not str(value):
            self.fail("expected a path, got an empty value")
        return Path(try_expand_home(str(value)))

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """Let the shell complete names of files or folders."""
        return [CompletionItem(incomplete, type=self.name)]


class InputName(ParamType):
    """A file, a folder, or a name that is no file, such as `-` or `synthetic:5`; shells complete names of files."""

    name = "name"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the text, with `~` expanded."""
        return try_expand_home(str(value))

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """Let the shell complete names of files."""
        return [CompletionItem(incomplete, type="file")]


class ModelName(InputName):
    """A .tflite file or the name of a model; shells complete both."""

    name = "model"

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """Return the names of models, and let the shell complete names of files."""
        from ..model import registry

        names = [path.stem for path in registry.list_packaged_models()] + [
            model.name for model in registry.load_known_models()
        ]
        found = [CompletionItem(name) for name in names if name.startswith(incomplete)]
        # Click's script for bash discards the names if an item asks for files.
        return found or [CompletionItem(incomplete, type="file")]


class SkeletonName(InputName):
    """The name of a shipped skeleton or a .toml file; shells complete both."""

    name = "skeleton"

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """Return the names of shipped skeletons, and let the shell complete names of files."""
        from ..skeleton import list_skeletons

        found = [CompletionItem(name) for name in list_skeletons() if name.startswith(incomplete)]
        return found or [CompletionItem(incomplete, type="file")]


class Checked(ParamType):
    """A text that a function checks or converts; the function raises ValueError."""

    def __init__(self, convert: Callable[[str], object], name: str = "text") -> None:
        self.name = name
        self._convert = convert

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> object:
        """Convert the text with the function."""
        if not isinstance(value, str):
            return value
        try:
            return self._convert(value)
        except ValueError as error:
            self.fail(str(error).removeprefix(f"{param.name}: " if param is not None else ""))


def make_common_options() -> list[click.Parameter]:
    """Return the options that every command has."""
    return [
        Option("-v", "--verbose", is_flag=True, section=COMMON_SECTION, help="show details, and tracebacks of errors"),
        Option("-q", "--quiet", is_flag=True, section=COMMON_SECTION, help="show errors and warnings only"),
    ]


def apply_common_options(values: dict[str, Any]) -> None:
    """Remove the values of the common options from `values` and apply them. Raises UsageError if they contradict."""
    verbose, quiet = values.pop("verbose", False), values.pop("quiet", False)
    if verbose and quiet:
        raise click.UsageError("--verbose and --quiet cannot be combined; use one of them")
    if verbose:
        set_verbosity(Verbosity.VERBOSE)
    elif quiet:
        set_verbosity(Verbosity.QUIET)


class Command(click.Command, Generic[Options]):
    """A subcommand: parameters, a dataclass that holds their values, and the function that gets it.

    Args:
        name: The word after `edgepose`.
        options: A dataclass with one field per parameter.
        run: Does the work; returns the exit code.
        description: First part of the help text; its line breaks are kept.
        examples: Command lines, one per line.
        exit_codes: Meaning of exit codes, in addition to EXIT_CODES or instead of them.
        parameters: The `Argument`s and `Option`s, in the order of the help text.
    """

    def __init__(
        self,
        name: str,
        options: type[Options],
        run: Callable[[Options], int],
        *,
        description: str,
        examples: str,
        parameters: Sequence[click.Parameter],
        exit_codes: Mapping[int, str] | None = None,
    ) -> None:
        super().__init__(
            name,
            params=[*parameters, *make_common_options()],
            callback=lambda **values: run(options(**values)),
            context_settings={"help_option_names": ["-h", "--help"], "max_content_width": _MAX_HELP_COLUMNS},
        )
        self.description, self.examples = description, examples
        self.exit_codes = dict(sorted({**EXIT_CODES, **(exit_codes or {})}.items()))
        self._options = options

    def parse_options(self, arguments: Sequence[str]) -> Options:
        """Parse a command line into the dataclass. Raises click.ClickException for a wrong one."""
        values = dict(self.make_context(self.name, list(arguments)).params)
        apply_common_options(values)
        return self._options(**values)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse, and refuse options that are given twice or whose value is the next option."""
        values, _, order = self.make_parser(ctx).parse_args(list(args))
        names = _list_option_names(ctx)
        seen: set[str] = set()
        for param in order:
            if not isinstance(param, click.Option) or param.multiple or param.is_flag or param.name is None:
                continue
            if param.name in seen:
                last = values.get(param.name)
                raise click.BadParameter(f"given twice, the last time as {last}; give it once", ctx, param)
            seen.add(param.name)
            value = values.get(param.name)
            if isinstance(value, str) and value.startswith("-") and value.split("=")[0] in names:
                raise click.BadParameter(f"expected a value, got the option {value}", ctx, param)
        return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command with its options; returns the exit code."""
        apply_common_options(ctx.params)
        return super().invoke(ctx)

    def get_help_option(self, ctx: click.Context) -> click.Option | None:
        """Return `--help`."""
        return describe_help_option(super().get_help_option(ctx))

    def list_arguments(self, ctx: click.Context) -> list[tuple[str, str]]:
        """Return the arguments as the help text shows them: name and description."""
        return [
            (param.make_metavar(ctx) if _needs_context(param) else param.make_metavar(), param.help_text)  # type: ignore[call-arg]
            for param in self.get_params(ctx)
            if isinstance(param, Argument)
        ]

    def list_options(self, ctx: click.Context) -> dict[str, list[tuple[str, str]]]:
        """Return the options of each section as the help text shows them: names with metavar, and description."""
        return list_options(self.get_params(ctx), ctx)

    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write usage, description, arguments, options by section, exit codes and examples."""
        self.format_usage(ctx, formatter)
        formatter.write(f"\n{self.description}\n")
        arguments = self.list_arguments(ctx)
        if arguments:
            with formatter.section("Arguments"):
                formatter.write_dl(arguments)
        for title, records in self.list_options(ctx).items():
            with formatter.section(title):
                formatter.write_dl(records)
        with formatter.section("Exit codes"):
            formatter.write_dl([(str(code), meaning) for code, meaning in self.exit_codes.items()])
        formatter.write(f"\nExamples:\n{self.examples}\n")


def list_options(params: Sequence[click.Parameter], ctx: click.Context) -> dict[str, list[tuple[str, str]]]:
    """Return the options of each section as the help text shows them: names with metavar, and description."""
    sections: dict[str, list[tuple[str, str]]] = {}
    for param in params:
        record = param.get_help_record(ctx) if isinstance(param, click.Option) else None
        if record is not None:
            sections.setdefault(getattr(param, "section", COMMON_SECTION), []).append(record)
    return sections


def describe_help_option(option: click.Option | None) -> click.Option | None:
    """Give `--help` a text in the style of the other options."""
    if option is not None:
        option.help = "show this text and exit"
    return option


def _needs_context(param: click.Parameter) -> bool:
    """Return whether `make_metavar` takes a context: it does since click 8.2."""
    return param.make_metavar.__code__.co_argcount > 1


def join_words(words: Sequence[str]) -> str:
    """Return `a, b or c`."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"


def describe_usage_error(error: click.ClickException) -> str:
    """Return what is wrong with a command line, and what to do, in one line."""
    if isinstance(error, click.NoSuchOption):
        near = difflib.get_close_matches(error.option_name, error.possibilities or _list_option_names(error.ctx), n=1)
        return f"no option {error.option_name}" + (f"; did you mean {near[0]}?" if near else "")
    if isinstance(error, click.MissingParameter) and error.param is not None:
        about = error.param.help_text if isinstance(error.param, Argument) else getattr(error.param, "help", "")
        return f"{_get_shown_name(error.param)} is required; {about}".rstrip("; ")
    if isinstance(error, click.BadOptionUsage):
        return f"{error.option_name}: expected a value" if "requires" in error.message else error.format_message()
    if isinstance(error, click.BadParameter) and error.param is not None:
        return f"{_get_shown_name(error.param)}: {error.message}"
    return error.format_message().removesuffix(".")


def _list_option_names(context: click.Context | None) -> list[str]:
    if context is None:
        return []
    params = context.command.get_params(context)
    return [name for param in params if isinstance(param, click.Option) for name in param.opts]


def _get_shown_name(param: click.Parameter) -> str:
    if isinstance(param, click.Option):
        return max(param.opts, key=len)
    return param.metavar or (param.name or "").upper()
