"""What this machine has for a compute server, and what is missing: printed for a person, nothing is changed."""

from __future__ import annotations

import os
import platform
import shutil
import time
from pathlib import Path

import torch
import zmq
from rich.console import Console

from shared.errors import AssistiveError
from shared.version import PROTOCOL, VERSION

from .classifiers import available, load
from .jobs import choose_device, versions
from .ledger import RESERVE
from .render.rasterizer import HOW_TO_INSTALL, INSTALL_WARP, choose, nvdiffrast_installed
from .worker import device_name


def examine(device_name_given: str, rasterizer: str, home: Path, bind: str) -> int:
    """Print the findings; 0 when a job could run here."""
    console = Console(highlight=False)
    console.print(f"[bold]Assistive Signals server {VERSION}[/], protocol {PROTOCOL}, {platform.platform()}")
    console.print("  " + ", ".join(f"{name} {version}" for name, version in versions().items() if name != "server"))
    device = choose_device(device_name_given)
    console.print(f"Device:      {device_name(device)}")
    drawn_by = _rasterizer(rasterizer, device)
    console.print(f"Rasterizer:  {drawn_by}")
    for name, finding in (("Disk", _disk(home)), ("Port", _port(bind)), ("Clock", _clock(home))):
        console.print(f"{name + ':':12} {finding}")
    here = [spec.name for spec in available() if spec.available]
    console.print(f"Classifiers: {', '.join(here) or '[red]none[/]'} of {len(available())} known (`models` lists them)")
    if "efficientnet_lite0" not in here or drawn_by.startswith("[red]"):
        console.print("[red]A job cannot run here.[/]")
        return 1
    classes = load("efficientnet_lite0", device).logits(torch.full((1, 224, 224, 3), 0.5, device=device)).shape[1]
    console.print(f"[green]A job can run here[/] (efficientnet_lite0 answers with {classes} classes).")
    return 0


def _disk(home: Path) -> str:
    """Whether jobs can be kept in `home`."""
    there = next(folder for folder in (home, *home.parents) if folder.exists())
    if not os.access(there, os.W_OK):
        return f"[red]{home} cannot be written; choose another folder with --home[/]"
    free = shutil.disk_usage(there).free
    if free < 8 * RESERVE:
        return f"[red]{free >> 20} MiB free for {home}: free some space, or `assistive-server jobs prune`[/]"
    return f"{free / (1 << 30):.0f} GiB free for {home}"


def _port(bind: str) -> str:
    """Whether a server could be bound there."""
    with zmq.Context() as context, context.socket(zmq.ROUTER) as socket:
        try:
            socket.bind(bind)
        except zmq.ZMQError as error:
            if error.errno == zmq.EADDRINUSE:
                return f"{bind} is taken: by a server that runs (`assistive-server health`), or choose another --bind"
            return f"[red]{bind} cannot be used: {error}[/]"
    return f"{bind} is free"


def _clock(home: Path) -> str:
    """Whether the clock goes on from the last job: retention and waiting times are reckoned by it."""
    book = home / "ledger.sqlite"
    ahead = book.stat().st_mtime - time.time() if book.exists() else 0.0
    if ahead > 60:
        return f"[red]{ahead / 60:.0f} min before the last entry of the ledger: set this machine's clock[/]"
    return time.strftime("%Y-%m-%d %H:%M:%S %Z")


def _rasterizer(name: str, device: torch.device) -> str:
    try:
        chosen = choose(name, device).name
    except AssistiveError as error:
        return f"[red]{error}[/]"
    if device.type == "cuda" and not nvdiffrast_installed() and chosen != "warp":
        return f"{chosen}. {HOW_TO_INSTALL}. Free for all uses: `{INSTALL_WARP}`, then --rasterizer warp"
    return chosen
