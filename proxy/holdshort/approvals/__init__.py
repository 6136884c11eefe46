"""The approval side: REST, event stream and review page, behind one door and one route table.

`build_app` imports the web framework when it is called, so that a process which hosts no page does not pay for one.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from starlette.applications import Starlette

    from holdshort.approvals.deps import ApprovalDeps

__all__ = ["build_app", "close_streams"]


def build_app(deps: "ApprovalDeps") -> "Starlette":
    """Return the ASGI app with every route of the approval side; it is complete alone or mounted at `/`."""
    from holdshort.approvals.app import make_app

    return make_app(deps)


def close_streams(app: "Starlette") -> None:
    """End the open event streams, so that a server which stops does not wait for their readers."""
    app.state.streams.close()
