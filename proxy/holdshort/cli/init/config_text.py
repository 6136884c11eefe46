"""The text of holdshort.yaml: the servers as they were given, and what else one may want to say, commented out."""

from collections.abc import Sequence

from holdshort.cli.init.planned import SCHEMAS, Planned
from holdshort.cli.init.yaml_text import COLUMNS, comment, flow, inert, scalar

__all__ = ["config_text"]


def config_text(servers: Sequence[Planned], policy: str, day: str) -> str:
    """Return holdshort.yaml; `policy` is the path of the policy file as it is named there."""
    lines = [
        f"# yaml-language-server: $schema={SCHEMAS}/config.schema.json",
        "#",
        f"# Which servers there are, who may call, and who may approve. Written by `holdshort init` on {day}.",
        "# Every key is in docs/configuration.md of Holdshort. Check after each change: `holdshort policy check`.",
        "version: 1",
        "",
        *comment(
            "Each server by its label, as in a client's own file. To an agent, the tool `read` of `files` is "
            "`files__read`. A value may refer to a variable of the environment: ${NAME}, or ${NAME:-default}."
        ),
        "mcpServers:",
    ]
    for server in servers:
        lines += _server(server)
    lines += [
        "",
        "# The rules, in files of their own. With several files, the strictest one wins.",
        f"policy: [{policy}]",
    ]
    lines += _people()
    return "\n".join(lines) + "\n"


def _server(server: Planned) -> list[str]:
    lines = [f"  {scalar(server.label)}:"]
    if server.error is not None:
        lines += comment(f"At the time, it {inert(server.error)}.", 4)
    for key, value in server.block.items():
        line = f"    {key}: {flow(value)}"
        if len(line) <= COLUMNS or not isinstance(value, dict | list):
            lines.append(line)
        elif isinstance(value, list):
            lines += [f"    {key}:", *(f"      - {flow(each)}" for each in value)]
        else:
            lines += [f"    {key}:", *(f"      {scalar(str(name))}: {flow(each)}" for name, each in value.items())]
    return lines


def _people() -> list[str]:
    return [
        "",
        *comment(
            "Who may call. Without `agents`, every program on this machine may, as the agent `local`. With it, each "
            "agent has a token of its own, which it sends as `Authorization: Bearer …`. This makes a good one:"
        ),
        '#   python -c "import secrets; print(secrets.token_urlsafe(32))"',
        "#",
        "# agents:",
        '#   - {name: ci-bot, token: "${CI_BOT_TOKEN}", groups: [ci]}',
        "",
        *comment(
            "Who may approve. Without `approvers`, one token is made at the first start, and a link to log in with is "
            "printed. With it, a rule can say who decides (`approvers: [maintainers]`), and how many must "
            "(`required_approvals: 2`)."
        ),
        "#",
        "# approvers:",
        '#   - {name: ana, token: "${ANA_TOKEN}", groups: [maintainers]}',
        "",
        "# Where it listens. An address that other machines can reach needs `agents`.",
        "#",
        "# listen: 127.0.0.1:7411",
    ]
