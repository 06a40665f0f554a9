"""Products of linear layers: whichever library multiplies, the numbers are those of a linear layer."""

import pytest
import torch
from torch.nn import functional

from fourm_runtime import products
from fourm_runtime.assemble import assemble
from fourm_runtime.packing import pack
from fourm_runtime.products import Linear, is_onednn, product
from fourm_schema.architecture import Architecture
from tests.runtime.drawn_plans import masked_samples, plan_of, stream

SHAPES = {
    "no biases": Architecture(dim=48, heads=2, encoder_depth=2, decoder_depth=2, norm_bias=False),
    "biases": Architecture(
        dim=48, heads=2, encoder_depth=2, decoder_depth=2, qkv_bias=True, proj_bias=True, mlp_bias=True
    ),
}

needs_onednn = pytest.mark.skipif(
    not is_onednn(torch.zeros(1, 1), torch.zeros(1, 1)), reason="this PyTorch has no oneDNN: nothing differs"
)


@pytest.fixture
def everything_is_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(products, "LARGE", 0)


@needs_onednn
@pytest.mark.usefixtures("everything_is_large")
@pytest.mark.parametrize("biased", [True, False])
@pytest.mark.parametrize("tokens", [1, 7, 64])
def test_a_layer_and_its_gradients_are_those_of_pytorchs_own(tokens: int, biased: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    ours, own = Linear(12, 20, bias=biased), torch.nn.Linear(12, 20, bias=biased)
    own.load_state_dict(ours.state_dict())
    x, upstream = (torch.randn(tokens, size, generator=generator) for size in (12, 20))
    shown = [x.clone().requires_grad_() for _ in range(2)]
    found, truth = ours(shown[0]), own(shown[1])
    assert type(found.grad_fn).__name__ == "_ProductBackward", "oneDNN was to be asked"
    found.backward(upstream)
    truth.backward(upstream)

    torch.testing.assert_close(found, truth)
    torch.testing.assert_close(shown[0].grad, shown[1].grad)
    for one, other in zip(ours.parameters(), own.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad)


@needs_onednn
@pytest.mark.usefixtures("everything_is_large")
def test_weights_may_be_any_view() -> None:
    """The gradient of an input takes the weight transposed, a head some rows of its table."""
    table, x = torch.randn(40, 12), torch.randn(9, 12)
    for weight in (table[5:17], table[:12].t(), table[::2]):
        torch.testing.assert_close(product(x, weight), functional.linear(x, weight))


@pytest.mark.usefixtures("everything_is_large")
def test_what_onednn_does_not_take_is_multiplied_as_ever() -> None:
    """No tokens, float64, three axes, and the other dtypes of autocast."""
    layer, double = Linear(6, 4), Linear(6, 4).double()
    assert layer(torch.zeros(0, 6)).shape == (0, 4)
    assert double(torch.ones(3, 6, dtype=torch.float64)).dtype == torch.float64
    assert layer(torch.ones(2, 3, 6)).shape == (2, 3, 4)
    with torch.autocast("cpu", torch.bfloat16):
        assert layer(torch.ones(3, 6)).dtype == torch.bfloat16
        assert product(torch.ones(3, 6), layer.weight).dtype == torch.bfloat16


@needs_onednn
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_a_step_is_the_same_whatever_multiplies(shape: Architecture, monkeypatch: pytest.MonkeyPatch) -> None:
    """Losses and the gradient of every parameter, of large products and of small."""
    plan = plan_of(stream("pixels", 0), stream("image", 1), stream("text", 2))
    model = assemble(plan, shape, seed=1)
    batch = pack(masked_samples(plan, 6, seed=2), plan, model.allocation)[0]
    found: list[tuple[float, dict[str, torch.Tensor]]] = []
    for large in (2**60, 0):
        monkeypatch.setattr(products, "LARGE", large)
        model.zero_grad()
        loss = torch.stack(list(model.losses(batch).values())).sum()
        torch.autograd.backward(loss)
        gradients = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
        found.append((float(loss.detach()), gradients))

    (loss_one, one), (loss_other, other) = found
    assert loss_one == pytest.approx(loss_other, rel=1e-6)
    for name, gradient in one.items():
        torch.testing.assert_close(gradient, other[name], rtol=1e-4, atol=1e-6, msg=name)
