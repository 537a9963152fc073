import pytest
import torch

from saywhy.checks.outcomes import CPU_BATCH, of_logits, outcomes
from tests.checks.linear import SIDE, linear_classifier


def test_outcomes_are_those_of_the_network_however_many() -> None:
    classifier = linear_classifier(torch.randn(3, SIDE, SIDE))
    pixels = torch.randn(2 * CPU_BATCH + 3, 3, SIDE, SIDE)
    targets = [n % 3 for n in range(len(pixels))]
    logits = classifier.logits(pixels).double()
    found = outcomes(classifier, iter(pixels), targets)
    rows = torch.arange(len(pixels))
    assert torch.allclose(found.logits, logits[rows, targets], atol=1e-4)
    assert torch.allclose(found.margins, logits[rows, targets] - logits.mean(1), atol=1e-4)
    assert torch.allclose(found.probabilities, logits.softmax(1)[rows, targets], atol=1e-4)
    assert torch.equal(found.ranks, 1.0 + (logits > logits[rows, targets][:, None]).sum(1))


def test_pictures_are_read_a_batch_at_a_time() -> None:
    classifier = linear_classifier(torch.ones(3, SIDE, SIDE))
    read: list[int] = []
    most = 0
    forward = classifier.network.forward

    def counted(pixels: torch.Tensor) -> torch.Tensor:
        nonlocal most
        most = max(most, len(read))
        read.clear()
        return forward(pixels)

    classifier.network.forward = counted  # type: ignore[method-assign]

    def pictures():  # type: ignore[no-untyped-def]
        for n in range(5 * CPU_BATCH):
            read.append(n)
            yield torch.zeros(3, SIDE, SIDE)

    assert len(outcomes(classifier, pictures(), [0] * 5 * CPU_BATCH)) == 5 * CPU_BATCH
    assert 0 < most <= CPU_BATCH


def test_no_picture_has_no_outcome() -> None:
    classifier = linear_classifier(torch.ones(3, SIDE, SIDE))
    assert len(outcomes(classifier, iter(()), [])) == 0
    assert float(of_logits(classifier, torch.tensor([[1.0, 3.0, 2.0]]), [2]).ranks) == pytest.approx(2)
