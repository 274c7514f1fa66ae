"""From the workstation to any number of boards: releases, their installation over ssh, and what became of them."""
