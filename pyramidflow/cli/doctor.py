"""``pyramidflow doctor``."""

import typer


def doctor() -> None:
    """Say what this installation has and will use."""
    import os
    import platform
    import sys

    import torch
    import torchvision

    from pyramidflow import __version__, ops
    from pyramidflow.cli.summary import print_facts

    devices = [
        f"cuda:{i} {torch.cuda.get_device_name(i)}" for i in range(torch.cuda.device_count())
    ]
    if not devices:
        built = (
            f"torch was built for CUDA {torch.version.cuda}"
            if torch.version.cuda
            else ("torch was built without CUDA")
        )
        devices = [f"none that torch can use ({built})"]
    print_facts(
        {
            "pyramidflow": __version__,
            "python": f"{sys.version.split()[0]} on {platform.platform()}",
            "torch": f"{torch.__version__}, torchvision {torchvision.__version__}",
            "cpu": f"{os.cpu_count()} cores, {torch.get_num_threads()} threads, "
            f"{torch.backends.cpu.get_cpu_capability()}",
            "cuda devices": ", ".join(devices),
            "operations": ", ".join(
                f"{ops.active_backend(device)} on {device}"
                for device in ("cpu", *(["cuda"] if torch.cuda.is_available() else []))
            ),
        }
    )
    typer.echo("\nbackends")
    for backend in ops.backends():
        state = "yes" if backend.available else "no"
        typer.echo(f"  {backend.name:<10} {state:<4} {backend.reason}")
        for name, value in backend.details.items():
            typer.echo(f"{'':<18}{name}: {value}")
