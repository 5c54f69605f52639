"""Classifiers that a server's owner registers: found by name, as good as any other, and refused with a sentence."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from compute_server.classifiers import available, find, load
from compute_server.own_models import FILE, registered
from shared.errors import InvalidInput, MissingWeights, UnknownModel
from shared.home import VARIABLE

ROOT = Path(__file__).parents[2]


def small_net(classes: int = 1000) -> nn.Module:
    """A convolution, a norm and a head, with weights that do not change."""
    with torch.random.fork_rng():
        torch.manual_seed(2)
        layers = [nn.Conv2d(3, 8, 3, stride=2), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
        return nn.Sequential(*layers, nn.Linear(8, classes)).eval()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An owner's folder for settings."""
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def register(folder: Path, text: str) -> None:
    (folder / FILE).write_text(text)
    (folder / FILE).chmod(0o644)


def pictures() -> torch.Tensor:
    return torch.rand(2, 40, 40, 3, generator=torch.Generator().manual_seed(5))


def by_hand(network: nn.Module) -> torch.Tensor:
    return network(((pictures() - 0.5) / 0.25).permute(0, 3, 1, 2))  # type: ignore[no-any-return]


PREPROCESSING = "size = 40\nmean = [0.5, 0.5, 0.5]\nstd = [0.25, 0.25, 0.25]\n"


@pytest.mark.parametrize("kind", ["torchscript", "exported", "entry"])
def test_a_registered_classifier_gives_its_networks_logits_and_gradients(folder: Path, kind: str) -> None:
    network = small_net()
    if kind == "torchscript":
        torch.jit.script(network).save(str(folder / "net.pt"))
        source = 'file = "net.pt"\n'
    elif kind == "exported":
        batch = {"input": {0: torch.export.Dim.DYNAMIC}}
        exported = torch.export.export(network, (torch.zeros(2, 3, 40, 40),), dynamic_shapes=batch)
        torch.export.save(exported, folder / "net.pt2")
        source = 'file = "net.pt2"\n'
    else:
        torch.save(network, folder / "whole.pt")
        (folder / "lab_net.py").write_text(
            f"import torch\ndef best():\n    return torch.load({str(folder / 'whole.pt')!r}, weights_only=False)\n"
        )
        source = 'entry = "lab_net:best"\n'
    register(folder, f"[models.net]\n{source}{PREPROCESSING}")
    classifier = load("own/net")
    seen = pictures().requires_grad_()
    logits = classifier.logits(seen)
    torch.testing.assert_close(logits, by_hand(network), rtol=1e-4, atol=1e-5)
    logits[:, 7].sum().backward()
    assert seen.grad is not None
    assert float(seen.grad.abs().max()) > 0
    assert not any(parameter.requires_grad for parameter in classifier.network.parameters())


def test_registered_classifiers_are_listed_with_their_licence(folder: Path) -> None:
    torch.jit.script(small_net()).save(str(folder / "net.pt"))
    register(folder, f'[models.net]\nfile = "net.pt"\nlicense = "CC0"\n{PREPROCESSING}')
    listed = {spec.name: spec for spec in available()}["own/net"]
    assert (listed.available, listed.license, listed.size) == (True, "CC0", 40)


def test_without_a_file_nothing_is_registered(folder: Path) -> None:
    assert folder.is_dir()
    assert registered() == {}
    with pytest.raises(UnknownModel, match="own/net"):
        find("own/net")


def test_the_example_in_the_documents_is_one(folder: Path) -> None:
    register(folder, (ROOT / "docs" / "deploy" / "models.toml").read_text())
    assert set(registered()) == {"sketch_net", "exported_net", "lab_net"}


@pytest.mark.parametrize("source", ['file = "gone.pt"', 'entry = "no_such_package.zoo:best"'])
def test_what_is_registered_and_not_there_is_named(folder: Path, source: str) -> None:
    register(folder, f"[models.net]\n{source}\nsize = 40\n")
    with pytest.raises(MissingWeights, match=r"gone\.pt|no_such_package"):
        load("own/net")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[models.net]\nsize = 40\n", "either a `file` or an `entry`"),
        ('[models.net]\nfile = "a.pt"\nentry = "a:b"\nsize = 40\n', "either a `file` or an `entry`"),
        ('[models.net]\nfile = "a.pt"\n', "size"),
        ('[models.net]\nfile = "a.pt"\nsize = 40\nmena = [0, 0, 0]\n', "mena"),
        ('[models.net]\nfile = "a.pt"\nsize = 40\nstd = [0, 1, 1]\n', r"std"),
        ('[models.net]\nentry = "a"\nsize = 40\n', "entry"),
        ("models", FILE),
    ],
)
def test_a_configuration_that_is_wrong_is_refused_with_the_place(folder: Path, text: str, said: str) -> None:
    register(folder, text)
    with pytest.raises(InvalidInput, match=said):
        registered()


def test_a_configuration_that_others_may_change_is_not_used(folder: Path) -> None:
    register(folder, f'[models.net]\nentry = "a:b"\n{PREPROCESSING}')
    (folder / FILE).chmod(0o666)
    with pytest.raises(InvalidInput, match="chmod 644"):
        registered()


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("import no_such_thing", "ModuleNotFoundError"),
        ("def best():\n    return 7", "int"),
        ("import torch\ndef best():\n    return torch.nn.Flatten()", r"\[1, 4800\]"),
        (
            "import torch\nclass Net(torch.nn.Module):\n    def forward(self, x):\n"
            "        return torch.zeros(len(x), 1000, requires_grad=True)\ndef best():\n    return Net()",
            "no gradient",
        ),
        (
            "import torch\nclass Net(torch.nn.Module):\n    def forward(self, x):\n"
            "        return x.reshape(1, -1)[:, :1000]\ndef best():\n    return Net()",
            r"\[1, 1000\] for 3 pictures",
        ),
    ],
)
def test_a_network_that_is_no_classifier_is_refused_with_a_reason(
    folder: Path, code: str, said: str, request: pytest.FixtureRequest
) -> None:
    module = f"net_{abs(hash(request.node.name))}"
    (folder / f"{module}.py").write_text(code)
    register(folder, f'[models.net]\nentry = "{module}:best"\n{PREPROCESSING}')
    with pytest.raises(InvalidInput, match=said):
        load("own/net")


def test_a_file_of_another_kind_is_refused(folder: Path) -> None:
    (folder / "net.pt").write_bytes(b"not a network")
    register(folder, f'[models.net]\nfile = "net.pt"\n{PREPROCESSING}')
    with pytest.raises(InvalidInput, match=r"net\.pt"):
        load("own/net")
