"""The classifiers that a server's owner has registered, in ``models.toml`` of the folder for settings. No torch.

Clients choose among them by name; nothing of the file ever comes from a client. It may name code that is then run, so
nobody but its owner may change it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

from shared.errors import InvalidInput
from shared.home import home, read_private

FILE = "models.toml"
Channel = Annotated[float, Meta(ge=-1000, le=1000)]
Divisor = Annotated[float, Meta(gt=0, le=1000)]


class OwnModel(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One classifier of ImageNet's 1000 classes. It has either a ``file`` (TorchScript, or ``.pt2``: an exported
    program; a relative path is looked for beside the configuration) or an ``entry``: ``package.module:function``, which
    gives a ``torch.nn.Module``. It takes normalised pictures ``[N, 3, size, size]`` and gives logits ``[N, 1000]``."""

    size: Annotated[int, Meta(ge=8, le=4096)]
    file: str = ""
    entry: Annotated[str, Meta(pattern=r"^$|^[\w.]+:\w+$")] = ""
    mean: tuple[Channel, Channel, Channel] = (0.485, 0.456, 0.406)
    std: tuple[Divisor, Divisor, Divisor] = (0.229, 0.224, 0.225)
    license: str = "not said"

    def path(self) -> Path:
        """Where its file is."""
        return (configuration().parent / Path(self.file).expanduser()).absolute()


class _Configuration(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    models: dict[Annotated[str, Meta(pattern=r"^[\w.-]{1,64}$")], OwnModel] = {}


def configuration() -> Path:
    """The file with the models, whether it is there or not."""
    return home() / FILE


def registered() -> dict[str, OwnModel]:
    """The models by name; none where there is no file. Raises :class:`InvalidInput` that names the file and the place
    in it."""
    path = configuration()
    content = read_private(path, secret=False)
    if content is None:
        return {}
    try:
        models = msgspec.toml.decode(content, type=_Configuration).models
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidInput(f"{path} cannot be used: {error}.", hint="See docs/deploy/models.toml for one.") from error
    for name, model in models.items():
        if bool(model.file) == bool(model.entry):
            raise InvalidInput(f"{path}: model {name!r} must have either a `file` or an `entry`.")
    return models
