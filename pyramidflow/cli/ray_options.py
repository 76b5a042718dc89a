"""Options of commands that can work on a Ray cluster."""

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from pyramidflow.cli.options import refuse_without

if TYPE_CHECKING:
    from pyramidflow.bulk.cluster import ClusterSettings

RayWorkers = Annotated[
    int | None,
    typer.Option(
        "--workers",
        min=1,
        max=100_000,
        help="Processes of --engine ray.",
        show_default="one for each GPU, or as many as the cluster's cores allow",
    ),
]
Address = Annotated[
    str | None,
    typer.Option(
        "--address",
        metavar="HOST:PORT",
        help="A Ray cluster that this machine is part of; auto takes the one that runs here, and "
        "starts one where none does.",
        show_default="a cluster of this machine's own, for this command",
    ),
]
ObjectStoreMemory = Annotated[
    int | None,
    typer.Option(
        "--object-store-memory",
        min=80,
        max=1_000_000,
        metavar="MB",
        help="Memory that a cluster of this command's own shares among its processes.",
        show_default="500",
    ),
]


@dataclass(frozen=True)
class ClusterOptions:
    """Which Ray cluster a command works on."""

    workers: RayWorkers = None
    address: Address = None
    object_store_memory: ObjectStoreMemory = None

    def settings(self, engine: str, threads: int | None) -> "ClusterSettings | None":
        """The cluster; ``None`` where the engine is another.

        Args:
            engine: that is asked for.
            threads: of each worker on the CPU; ``None`` leaves it to the engine.

        Raises:
            InputError: an option of a cluster is given without one, or Ray is not installed.
        """
        if engine != "ray":
            refuse_without("--engine ray", asdict(self))
            return None
        from pyramidflow.line.extras import need

        for library in ("ray", "pyarrow", "pandas"):
            need(library, "ray", "--engine ray")
        from pyramidflow.bulk.cluster import STORE_BYTES, ClusterSettings

        given = self.object_store_memory
        store = STORE_BYTES if given is None else given * 1_000_000
        return ClusterSettings(self.address, self.workers, threads, store)
