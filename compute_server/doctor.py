"""What this machine has for a compute server, and what is missing: printed for a person, nothing is changed."""

from __future__ import annotations

import platform

import torch
from rich.console import Console

from shared.errors import AssistiveError
from shared.version import PROTOCOL, VERSION

from .classifiers import available, load
from .jobs import choose_device, versions
from .render.rasterizer import choose, nvdiffrast_installed
from .worker import device_name


def examine(device_name_given: str, rasterizer: str) -> int:
    """Print the findings; 0 when a job could run here."""
    console = Console(highlight=False)
    console.print(f"[bold]Assistive Signals server {VERSION}[/], protocol {PROTOCOL}, {platform.platform()}")
    console.print("  " + ", ".join(f"{name} {version}" for name, version in versions().items() if name != "server"))
    device = choose_device(device_name_given)
    console.print(f"Device:      {device_name(device)}")
    drawn_by = _rasterizer(rasterizer, device)
    console.print(f"Rasterizer:  {drawn_by}")
    here = [spec.name for spec in available() if spec.available]
    console.print(f"Classifiers: {', '.join(here) or '[red]none[/]'} of {len(available())} known (`models` lists them)")
    if "efficientnet_lite0" not in here or drawn_by.startswith("[red]"):
        console.print("[red]A job cannot run here.[/]")
        return 1
    classes = load("efficientnet_lite0", device).logits(torch.full((1, 224, 224, 3), 0.5, device=device)).shape[1]
    console.print(f"[green]A job can run here[/] (efficientnet_lite0 answers with {classes} classes).")
    return 0


def _rasterizer(name: str, device: torch.device) -> str:
    try:
        chosen = choose(name, device).name
    except AssistiveError as error:
        return f"[red]{error}[/]"
    if device.type == "cuda" and not nvdiffrast_installed():
        return f"{chosen} (nvdiffrast, built from source against this torch and CUDA, would draw on the GPU)"
    return chosen
