"""What users of such tools ran into, tried on saywhy: each is right, or refused in one line.

Every test names the public threads it comes from. What lies behind one of them is tested in depth beside the code it
belongs to; here is the one sentence a user would check.
"""

from __future__ import annotations

import copy
import json
import pickle
import threading
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from torchvision import transforms

import saywhy
from saywhy.attribution import METHODS, attribute
from saywhy.classifiers.classifier import Classifier
from saywhy.errors import SaywhyError
from saywhy.pictures.reading import read_picture
from saywhy.types import Heatmap, Vocabulary
from saywhy.words.class_names import folder_names
from tests.attribution.test_no_map import Swish
from tests.helpers import FakeSpace, Then, TinyNet, picture, silence_biases


def transform_to(*size: int) -> transforms.Compose:
    return transforms.Compose(
        [transforms.Resize(size), transforms.ToTensor(), transforms.Normalize([0.5] * 3, [0.25] * 3)]
    )


TRANSFORM = transform_to(32, 32)
WORDS = Vocabulary(("red", "green", "blue", "thing", "other"), ("",) * 5)
PIXELS = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def own(network: nn.Module, size: tuple[int, int] = (32, 32), **options: Any) -> Classifier:
    return Classifier.from_module(network, transform=transform_to(*size), **options)


def explained(classifier: Classifier, **options: Any) -> saywhy.Explanation:
    result = saywhy.explain(picture(), model=classifier, space=FakeSpace(), vocabulary=WORDS, **options)
    assert isinstance(result, saywhy.Explanation)
    return result


def ratio(heatmap: Heatmap) -> list[float]:
    """Relevance over logit of each picture: 1 where a map is all of its logit."""
    sums = heatmap.values.double().sum((1, 2)).tolist()
    return [total / logit for total, logit in zip(sums, heatmap.logits, strict=True)]


def correlation(a: Tensor, b: Tensor) -> float:
    return float(torch.corrcoef(torch.stack([a.flatten(), b.flatten()]))[0, 1])


# -- the map ----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("method", ["lrp", "gradient-x-input"])
def test_1_a_second_example_in_the_batch_changes_nothing(method: str) -> None:
    """inseq #110; pytorch PR #192681: LeViT and CvT, whose one picture had a map of noise."""
    from transformers import CvtConfig, CvtForImageClassification

    cvt = CvtForImageClassification(CvtConfig(num_labels=4))
    for network in (timm.create_model("levit_128s", num_classes=4), cvt):
        classifier, pixels = own(network, (224, 224)), torch.randn(2, 3, 224, 224)
        composite = "cp-lrp" if method == "lrp" else None
        alone, both = (attribute(classifier, x, 0, method, composite).values[0] for x in (pixels[:1], pixels))
        assert correlation(alone, both) > 0.9999


def test_2_requests_at_once_are_answered_as_one_by_one() -> None:
    """alibi #593, nnsight #280, deepface #571."""
    classifier = own(TinyNet())
    right = attribute(classifier, PIXELS).values
    wrong: list[object] = []

    def run() -> None:
        for _ in range(20):
            if not torch.equal(attribute(classifier, PIXELS).values, right):
                wrong.append(1)

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@pytest.mark.parametrize("shape", [lambda y: y, lambda y: y[:, 0]])
def test_3_one_logit_has_two_sides(shape: Callable[[Tensor], Tensor]) -> None:
    """pytorch-grad-cam #325, #428; MONAI #5530; lime #634, #476; Skater #179."""
    network = TinyNet(1)
    classifier = own(Then(network, shape), labels=["pneumonia"])
    with torch.no_grad():
        expected = float(network.eval()(classifier.preprocess([picture()])).sigmoid())
    said = {p.name: p.probability for p in classifier.predict([picture()])[0]}
    assert said == pytest.approx({"pneumonia": expected, "not pneumonia": 1 - expected}, abs=1e-5)
    yes, no = (attribute(classifier, PIXELS, target).values for target in ("pneumonia", "not pneumonia"))
    torch.testing.assert_close(yes, -no)
    assert classifier.has_head


def test_4_labels_have_a_sigmoid_each() -> None:
    """transformers-interpret #107; captum #887; pytorch-grad-cam #328; torchgeo PR #791."""
    network = TinyNet(4)
    with torch.no_grad():
        network.head.weight.zero_()
        network.head.bias.copy_(torch.tensor([4.0, 4.0, 4.0, -4.0]))
    classifier = own(network, task="multi-label", labels=["a", "b", "c", "d"])
    assert [round(p.probability, 2) for p in classifier.predict([picture()])[0]] == [0.98, 0.98, 0.98, 0.02]


@pytest.mark.parametrize("method", METHODS)
def test_5_a_softmax_inside_is_read_and_what_goes_into_it_is_explained(method: str) -> None:
    """innvestigate #112, #84; pytorch-grad-cam #232."""
    plain = TinyNet(3)
    classifier, bare = own(nn.Sequential(plain, nn.Softmax(1))), own(plain)
    for one, other in zip(classifier.predict([picture()])[0], bare.predict([picture()])[0], strict=True):
        assert one.probability == pytest.approx(other.probability, abs=1e-6)
    torch.testing.assert_close(
        attribute(classifier, PIXELS, 1, method).values, attribute(bare, PIXELS, 1, method).values
    )


def test_5_a_mean_of_two_softmaxes_is_explained() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two = TinyNet(3), TinyNet(3)

        def forward(self, x: Tensor) -> Tensor:
            return (self.one(x).softmax(1) + self.two(x).softmax(1)) / 2

    network = Two()
    classifier = own(network)
    with torch.no_grad():
        expected = network.eval()(classifier.preprocess([picture()]))[0].sort(descending=True).values
    said = [p.probability for p in classifier.predict([picture()])[0]]
    assert said == pytest.approx(expected.tolist(), abs=1e-5)
    assert attribute(classifier, PIXELS).values.any()


@pytest.mark.parametrize("script", [torch.jit.script, lambda net: torch.jit.trace(net.eval(), PIXELS)])
def test_6_a_scripted_network_is_refused(script: Callable[[nn.Module], nn.Module]) -> None:
    """pytorch-grad-cam #531."""
    with pytest.raises(SaywhyError, match="explain the plain module"):
        attribute(own(script(nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(7200, 3)))), PIXELS)


def test_7_a_quantised_network_is_refused() -> None:
    """adversarial-attacks-pytorch #150; interpreto #101."""
    network = torch.ao.quantization.quantize_dynamic(TinyNet().eval(), {nn.Linear})
    with pytest.raises(SaywhyError, match="no gradient passes through the quantised layers"):
        attribute(own(network), PIXELS)


def test_8_an_activation_written_as_an_autograd_function_is_refused() -> None:
    """EfficientNet-PyTorch PR #88, #228; captum #346: relevance over logit was 1.4 without a word."""
    plain = silence_biases(TinyNet())
    with pytest.raises(SaywhyError, match="_Swish by an autograd function of its own"):
        attribute(own(nn.Sequential(plain, Swish())), PIXELS)
    assert ratio(attribute(own(plain), PIXELS, composite="epsilon")) == pytest.approx([1, 1], rel=0.01)


@pytest.mark.parametrize("name", ["test_vit", "test_resnet"])
def test_10_gradient_checkpointing_changes_nothing(name: str) -> None:
    """pytorch-image-models #1595."""
    network: Any = timm.create_model(name, num_classes=3)
    classifier, pixels = own(network, (160, 160)), torch.randn(1, 3, 160, 160)
    plain = attribute(classifier, pixels).values
    network.set_grad_checkpointing(True)
    assert torch.equal(attribute(classifier, pixels).values, plain)


def test_10_checkpointing_by_hand_is_right_or_refused() -> None:
    class ByHand(TinyNet):
        def forward(self, x: Tensor) -> Tensor:
            return self.head(checkpoint(self.body, x, use_reentrant=False).mean((2, 3)))

    network = silence_biases(ByHand())
    assert ratio(attribute(own(network), PIXELS, composite="epsilon")) == pytest.approx([1, 1], rel=0.01)


@pytest.mark.parametrize("method", METHODS)
def test_11_a_backbone_under_no_grad_is_refused_with_the_place(method: str) -> None:
    """MONAI #3035; segmentation_models.pytorch #365."""

    class Frozen(TinyNet):
        def forward(self, x: Tensor) -> Tensor:
            with torch.no_grad():
                x = self.body(x)
            return self.head(x.mean((2, 3)))

    with pytest.raises(SaywhyError, match="cuts the gradient"):
        attribute(own(Frozen()), PIXELS, method=method)


def test_12_of_a_tuple_the_tensor_that_fits_the_labels_is_taken() -> None:
    """pytorch-grad-cam #216, #156; DAN #27: features were taken for eight classes."""

    class Both(TinyNet):
        def forward(self, x: Tensor) -> Any:
            features = self.body(x).mean((2, 3))
            return features, self.head(features)

    assert len(own(Both(3), labels=["a", "b", "c"]).labels) == 3
    with pytest.raises(SaywhyError, match="Say output="):
        own(Both(3))


def test_13_a_key_may_be_named() -> None:
    """pytorch-grad-cam #481, #386."""
    network = Then(TinyNet(3), lambda y: {"class_logits": y, "boxes": y.new_zeros(len(y), 4)})
    assert len(own(network, output="class_logits").labels) == 3


@pytest.mark.parametrize("method", METHODS)
def test_14_an_autocast_context_changes_nothing(method: str) -> None:
    """pytorch #42358."""
    classifier = own(TinyNet())
    plain = attribute(classifier, PIXELS, method=method).values
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(attribute(classifier, PIXELS, method=method).values, plain)


@pytest.mark.parametrize("size", [(192, 224), (224, 160)])
def test_15_grad_cam_knows_the_grid_of_a_picture_that_is_no_square(size: tuple[int, int]) -> None:
    """pytorch-grad-cam #76, #344, #84; Swin-Transformer #141: 12 x 14 patches and a class token were 13 x 13."""
    network = timm.create_model("vit_tiny_patch16_224", img_size=size, num_classes=3)
    with torch.no_grad():
        for block in network.blocks:  # type: ignore[union-attr]
            block.attn.proj.weight.zero_()  # each token sees itself alone ...
        network.pos_embed.zero_()  # type: ignore[union-attr]
    network.global_pool = "avg"  # type: ignore[assignment]  # ... and the head sees all
    network.fc_norm, network.norm = network.norm, nn.Identity()
    pixels = torch.zeros(1, 3, *size)
    pixels[..., -32:, :32] = 3 * torch.randn(1, 3, 32, 32)  # the lower left corner alone is not flat
    values = attribute(own(network, size), pixels, 1, "grad-cam").values[0].abs()
    assert values.shape == size
    flat = values[: size[0] // 2].mean()
    corner = values[-16:, :16]
    assert (corner - flat).abs().max() > 0
    loudest = divmod(int((values - flat).abs().argmax()), size[1])
    assert loudest[0] >= size[0] - 40
    assert loudest[1] < 40


def test_32_to_35_a_module_used_twice_and_functions_without_a_module_conserve() -> None:
    """captum #857, #200, #1082, #1232, #712, #792, #1180, #199, PR #201; CLIP PR #239; open_clip PR #78."""

    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two, self.head = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3), nn.Linear(8, 3)
            self.relu, self.pool = nn.ReLU(inplace=True), nn.MaxPool2d(2)
            self.up = nn.Sequential(nn.Upsample(scale_factor=2), nn.ELU(), nn.Identity())

        def forward(self, x: Tensor) -> Tensor:
            x = self.pool(self.relu(self.one(x)))
            x = self.pool(self.relu(self.two(x)))
            x = self.up(x * x.sigmoid())
            return self.head(F.relu(x).mean((2, 3)))

    assert ratio(attribute(own(silence_biases(Odd())), PIXELS, composite="epsilon")) == pytest.approx([1, 1], rel=0.01)


@pytest.mark.parametrize("method", METHODS)
def test_36_37_43_frozen_trained_and_without_gradients_it_is_the_same_map(method: str) -> None:
    """pytorch-grad-cam #254, #40, #187; captum PR #226; zennit #200."""
    network = TinyNet()
    plain = attribute(own(network), PIXELS, method=method).values
    statistics = copy.deepcopy(network.state_dict())
    for change in (lambda net: net.requires_grad_(False), lambda net: net.train()):
        with torch.no_grad():
            torch.testing.assert_close(attribute(own(change(network)), PIXELS, method=method).values, plain)
        with torch.inference_mode():
            torch.testing.assert_close(attribute(own(network), PIXELS.clone(), method=method).values, plain)
    assert network.training
    assert all(torch.equal(value, statistics[key]) for key, value in network.state_dict().items())


def test_38_39_nothing_stays_behind() -> None:
    """pytorch-grad-cam #132, #88, #78, #195; grad-cam-pytorch #36; torch-cam #195, PR #23."""
    network = TinyNet()
    classifier = own(network)
    for method in METHODS:
        attribute(classifier, PIXELS, method=method)
    modules = list(network.modules())
    assert not any(m._forward_hooks or m._forward_pre_hooks or m._backward_hooks for m in modules)
    assert all(p.grad is None for p in network.parameters())


def test_40_a_map_of_zeros_is_said_to_be_none() -> None:
    """torch-cam #186; pytorch-grad-cam #108; captum #393."""
    network = TinyNet(3)
    nn.init.zeros_(network.head.weight)
    e = explained(own(network))
    assert not e.regions
    assert "no map" in e.summary.lower()
    assert "No pixel speaks for it" not in e.summary


def test_41_42_half_precision_and_data_parallel() -> None:
    """grad-cam-pytorch #13; pytorch-grad-cam #340, #206; interpreto #101."""
    network = TinyNet().eval()
    plain = attribute(own(network), PIXELS, 1).values
    torch.testing.assert_close(attribute(own(nn.DataParallel(network)), PIXELS, 1).values, plain)
    half = attribute(own(copy.deepcopy(network).bfloat16()), PIXELS, 1).values
    assert correlation(half, plain) > 0.99


def test_44_45_register_tokens_and_the_last_attention() -> None:
    """pytorch-grad-cam #513; dinov2 #90."""
    network = timm.create_model("test_vit", num_classes=3, reg_tokens=4, img_size=64).eval()
    pixels = torch.randn(1, 3, 64, 64)
    assert attribute(own(network, (64, 64)), pixels, method="grad-cam").values.any()
    network = silence_biases(network)
    assert ratio(attribute(own(network, (64, 64)), pixels, composite="cp-lrp")) == pytest.approx([1], rel=0.01)


def test_51_the_number_of_targets_must_fit() -> None:
    """pytorch-grad-cam #322, #328."""
    with pytest.raises(SaywhyError, match="3 targets for 2 pictures"):
        attribute(own(TinyNet()), PIXELS, target=[0, 1, 2])


def test_55_a_classifier_can_be_sent_to_another_process() -> None:
    classifier = own(TinyNet())
    twin = pickle.loads(pickle.dumps(classifier))
    assert torch.equal(attribute(twin, PIXELS).values, attribute(classifier, PIXELS).values)


# -- names and heads --------------------------------------------------------------------------------------------------


def test_16_names_are_read_in_either_order(tmp_path: Path) -> None:
    """deit #130; ImageNetV2 #10; vision #714."""
    for labels in ({"cat": 1, "dog": 0}, {0: "dog", 1: "cat"}, {"0": "dog", "1": "cat"}):
        assert own(TinyNet(2), labels=labels).labels == ("dog", "cat")
        file = tmp_path / "names.json"
        file.write_text(json.dumps(labels))
        assert own(TinyNet(2), labels=file).labels == ("dog", "cat")


def test_17_numbered_folders_are_counted_as_image_folder_sorts_them() -> None:
    """pytorch #22566; places365 #22; DIGITS #665."""
    classifier = own(TinyNet(12))
    assert folder_names(classifier.labels, {str(n) for n in range(12)})["10"] == 2


def test_20_larger_imagenets_have_their_names() -> None:
    """ImageNet21K #12; big_transfer #7."""
    classifier = Classifier.load("timm:vit_tiny_patch16_224.augreg_in21k", pretrained=False)
    assert len(classifier.labels) == 21843
    assert classifier.labels[0].startswith("organism")
    assert "class" not in classifier.labels[3513]


def test_21_a_backbone_without_a_head_is_refused() -> None:
    """grad-cam #7."""
    with pytest.raises(SaywhyError, match="head"):
        own(timm.create_model("test_resnet", num_classes=0))


def test_26_numpy_integers_are_classes() -> None:
    classifier = own(TinyNet())
    assert classifier.class_index(np.int64(1)) == 1
    assert attribute(classifier, PIXELS, target=np.int64(1)).targets == (1, 1)


def test_28_a_head_with_a_low_rank_update_has_the_merged_weight() -> None:
    """peft #1070."""

    class LowRank(nn.Module):
        def __init__(self, base: nn.Linear, rank: int = 2) -> None:
            super().__init__()
            self.base_layer = base
            self.down = nn.Linear(base.in_features, rank, bias=False)
            self.up = nn.Linear(rank, base.out_features, bias=False)

        def forward(self, x: Tensor) -> Tensor:
            return self.base_layer(x) + 0.5 * self.up(self.down(x))

    network: Any = TinyNet()
    network.head = LowRank(network.head)
    classifier = own(network)
    assert classifier.has_head
    torch.testing.assert_close(
        classifier.features(PIXELS) @ classifier.head.weight.T + classifier.head.bias,
        classifier.logits(PIXELS),
        rtol=1e-4,
        atol=1e-5,
    )


# -- pictures ---------------------------------------------------------------------------------------------------------


def test_23_twelve_bits_in_a_file_of_sixteen_are_not_black(tmp_path: Path) -> None:
    """Pillow PR #3838, #3011."""
    file = tmp_path / "xray.png"
    Image.fromarray(np.linspace(0, 4095, 64 * 64).reshape(64, 64).astype(np.uint16)).save(file)
    with pytest.warns(saywhy.pictures.reading.PictureWarning, match="4095"):
        values = np.asarray(read_picture(file))
    assert values.max() == 255


def test_25_arrays_and_files_in_memory_are_pictures() -> None:
    """XAI-Lib #6."""
    buffer = BytesIO()
    picture().save(buffer, "PNG")
    buffer.seek(0)
    for image in (buffer, buffer.getvalue(), np.asarray(picture())):
        assert np.array_equal(np.asarray(read_picture(image)), np.asarray(picture()))


def test_27_a_transform_may_take_arrays_and_give_dicts() -> None:
    """As albumentations' do."""

    def transform(image: np.ndarray) -> dict[str, Tensor]:
        if not isinstance(image, np.ndarray):
            raise TypeError("image must be an array")
        return {"image": TRANSFORM(Image.fromarray(image))}

    classifier = Classifier.from_module(TinyNet(), transform=transform)
    torch.testing.assert_close(
        attribute(classifier, [picture()]).values,
        attribute(own(classifier.network), [picture()]).values,
    )


@pytest.mark.parametrize("channels", [1, 4, 13])
def test_30_any_number_of_channels(channels: int) -> None:
    """pytorch-grad-cam #452; shap PR #1944, #4247."""
    network: Any = silence_biases(TinyNet())
    network.body[0] = nn.Conv2d(channels, 8, 3, 2, 1, bias=False)
    transform = transforms.Lambda(lambda image: torch.zeros(channels, 32, 32))
    classifier = Classifier.from_module(network, transform=transform)
    heatmap = attribute(classifier, torch.randn(2, channels, 32, 32), composite="epsilon")
    assert ratio(heatmap) == pytest.approx([1, 1], rel=0.01)
