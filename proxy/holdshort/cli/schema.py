"""`holdshort schema`: the JSON Schemas of the files, for completion and checks in an editor."""

import sys
from pathlib import Path
from typing import Annotated

import typer

__all__ = ["schema_command"]


def schema_command(
    name: Annotated[str, typer.Argument(metavar="FORMAT", help="`config`, `policy` or `cases`.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Write it there instead of printing it.")
    ] = None,
    where: Annotated[
        bool, typer.Option("--path", help="Print the path of the copy that came with this installation.")
    ] = False,
) -> None:
    """Print the JSON Schema of a file format: `config` is holdshort.yaml, `policy` a policy file, `cases` its cases.

    Editors with the YAML language server complete and check a file that begins with a line such as
    `# yaml-language-server: $schema=policy.schema.json`.

    \b
    Examples:
      holdshort schema config
      holdshort schema policy -o policies/policy.schema.json
      holdshort schema cases --path
    """
    from holdshort.config.formats import FORMATS, schema_file
    from holdshort.policy.words import unknown

    if name not in FORMATS:
        print(f"error: {unknown('format', name, FORMATS)}", file=sys.stderr)
        raise typer.Exit(2)
    if where:
        print(schema_file(name))
        return
    text = schema_file(name).read_text()
    if output is None:
        print(text, end="")
        return
    try:
        output.write_text(text)
    except OSError as error:
        print(f"error: `{output}` cannot be written: {(error.strerror or '').lower()}", file=sys.stderr)
        raise typer.Exit(2) from None
    print(f"written: {output}", file=sys.stderr)
