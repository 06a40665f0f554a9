"""4M's own way to run the model: every modality embedded whole, then padded to a budget. The baseline.

It has the weights of an `AnyToAnyTransformer` and computes what 4M's FourM computes, operation by operation,
written with the care one gives to code that is to be fast: no loop over samples, nothing computed twice, no
wait for a value on the host but the one per modality that picking its targets by a boolean mask needs.

    embed       all tokens of all modalities, each modality by tables of its own; a text at both its halves
    select      lay them end to end, sort by "is it used", gather the first N (encoder) or M (decoder)
    attend      softmax(masked_fill(q k^T / sqrt K, mask, -max)) v with dense boolean masks: keys (B, 1, N) in
                the encoder and in cross-attention, modality-separated (B, M, M) in the decoder
    predict     for each modality, the head on the positions that hold its tokens; mean cross-entropy each,
                summed and divided by the number of modalities that can be targets (4M's loss type `mod`)

Each modality has a table per side and a head, as in 4M. Where the model's tables hold them apart too (those
of imported models do), they are the same numbers in the same memory; where it shares or ties them, copies.

Left out, all in favour of this model: cutting images into patches (they come cut), the shuffle of the
decoder's modalities, which changes no result, and `loss.item()` for each modality.

For generation, as 4M's sampler does it: `encode` keeps as many tokens as the fullest sample shows,
`decode_grid` predicts any cells of one modality without a mask, and `decode_text` runs the decoder over a
whole prefix.

Shapes: B samples, L tokens of a modality at full length, A of all of them, N encoder and M decoder slots,
D width, H heads, K head width, V ids of a modality.
"""

import attrs
import torch
from torch import Tensor, nn
from torch.nn import functional

from dense_samples import Entry, WorkingDict
from fourm_runtime.tables import module_name
from fourm_runtime.transformer import (
    AnyToAnyTransformer,
    CrossAttention,
    DecoderBlock,
    EncoderBlock,
    Heads,
    Mlp,
    SelfAttention,
)
from fourm_schema.plan import Plan, Stream


@attrs.frozen(eq=False)
class Selected:
    """The tokens that a side keeps of all its modalities.

    Attributes:
        content, embedding: (B, N, D) each; zero where a slot is empty.
        hidden: (B, N) bool, True where it is.
        modality: (B, N) which modality of the plan, -1 where it is empty.
        ids: (B, N) what is to be predicted; None in the encoder.
        self_mask: (B, N, N) bool, True where a query does not see a key; None in the encoder.
    """

    content: Tensor
    embedding: Tensor
    hidden: Tensor
    modality: Tensor
    ids: Tensor | None = None
    self_mask: Tensor | None = None


@attrs.frozen(eq=False)
class Context:
    """What the decoder looks at: (B, N, D), and (B, 1, N) True where it must not."""

    features: Tensor
    mask: Tensor


class SideEmbeddings(nn.Module):
    """What one side has of its modalities: tables, learned positions and the modality embedding.

    Args:
        model: gives the numbers.
        streams: those of the side.
        side: `encoder` or `decoder`.
        copies: whether tables are copies, not the model's own memory.
    """

    def __init__(
        self, model: AnyToAnyTransformer, streams: tuple[Stream, ...], side: str, copies: bool
    ) -> None:
        super().__init__()
        tables, rows = model.tables, model.allocation
        own = tables.encoder if side == "encoder" else tables.decoder
        modality_rows = tables.encoder_streams if side == "encoder" else tables.decoder_streams
        self.tokens, self.positions = nn.ParameterDict(), nn.ParameterDict()
        self.modalities = nn.ParameterDict()
        self.fixed: dict[str, Tensor] = {}
        for stream in streams:
            key = module_name(stream.name)
            self.modalities[key] = _leaf(modality_rows[rows.streams[stream.name]])
            if not stream.is_dense:
                span = rows.token_span(stream)
                self.tokens[key] = _leaf(own.tokens[span.start : span.stop], copies)
            if stream.positions == "learned-1d":
                span = rows.learned_positions[stream.name]
                self.positions[key] = _leaf(own.learned_positions[span.start : span.stop])
            else:
                start = rows.position_offset(stream)
                self.fixed[key] = tables.fixed_positions[start : start + stream.position_count]

    def grid(self, stream: Stream, size: int) -> Tensor:
        """Position and modality of every cell, (B, L, D)."""
        key = module_name(stream.name)
        table: Tensor = self.positions[key] if key in self.positions else self.fixed[key]
        embedding: Tensor = table[: stream.length] + self.modalities[key]
        return embedding.expand(size, -1, -1)

    def ranks(self, stream: Stream, hidden_BL: Tensor, most: int | None) -> Tensor:
        """Position by rank among the tokens that are not hidden, and modality, (B, L, D).

        Args:
            stream: which.
            hidden_BL: True where a token has no position.
            most: ranks with a position of their own; later ones take position 0. None: all have one.
        """
        key = module_name(stream.name)
        ranks = (~hidden_BL).cumsum(1) - 1
        if most is not None:
            ranks = ranks.masked_fill(ranks >= most, 0)
        positions = functional.embedding(ranks.masked_fill(hidden_BL, 0), self.fixed[key])
        embedding: Tensor = positions.masked_fill(hidden_BL[..., None], 0.0) + self.modalities[key]
        return embedding


def _leaf(numbers: Tensor, copy: bool = False) -> nn.Parameter:
    """A parameter of its own over some rows of a table."""
    own = numbers.detach()
    return nn.Parameter(own.clone() if copy else own)


class DenseModel(nn.Module):
    """The padded model; its trunk is the given model's.

    Args:
        model: without registers, with streams kept apart in the decoder and grids that see both ways, as all
            released models of 4M and 4M-21 are.
    """

    def __init__(self, model: AnyToAnyTransformer) -> None:
        super().__init__()
        shape, tables, plan = model.architecture, model.tables, model.plan
        assert shape.decoder_streams_apart and not shape.decoder_left_to_right and not shape.registers
        self.plan: Plan = plan
        copies = has_shared_tables(model)
        self.encoder_embeddings = SideEmbeddings(model, plan.inputs, "encoder", copies)
        self.decoder_embeddings = SideEmbeddings(model, plan.targets, "decoder", copies)
        if shape.share_stream_embedding:
            self.decoder_embeddings.modalities.update(
                {
                    key: row
                    for key, row in self.encoder_embeddings.modalities.items()
                    if key in self.decoder_embeddings.modalities
                }
            )
        read = tables.decoder.tokens if tables.head is None else tables.head
        spans = {s.name: model.allocation.token_span(s) for s in plan.targets}
        self.heads = nn.ParameterDict(
            {module_name(n): _leaf(read[span.start : span.stop], copies) for n, span in spans.items()}
        )
        self.dense, self.mask_token = tables.dense, tables.mask_token
        self.encoder, self.encoder_norm = model.encoder, model.encoder_norm
        self.context_proj = model.context_proj
        self.decoder, self.decoder_norm = model.decoder, model.decoder_norm

    def tables(self) -> tuple[nn.Module, ...]:
        """What no weight decay applies to in our training."""
        return self.encoder_embeddings, self.decoder_embeddings, self.heads

    def loss(self, samples: WorkingDict, encoder_tokens: int, decoder_tokens: int) -> Tensor:
        """4M's loss of a batch, type `mod`.

        Args:
            samples: the working dictionary; a side takes its modalities in this order.
            encoder_tokens, decoder_tokens: N and M, what every sample is padded or cut to.
        """
        context = self.encode(samples, encoder_tokens)
        chosen = self.select_targets(samples, decoder_tokens)
        return self.predict(self.decode(chosen, context), chosen)

    def encode(self, samples: WorkingDict, tokens: int | None = None) -> Context:
        """Run the encoder.

        Args:
            samples: the working dictionary.
            tokens: N; None keeps as many as the fullest sample shows, as 4M's sampler does.
        """
        chosen = self.select_inputs(samples, tokens)
        return self.run_encoder(chosen.content + chosen.embedding, chosen.embedding, chosen.hidden[:, None])

    def run_encoder(self, x_BND: Tensor, embedding_BND: Tensor, mask_B1N: Tensor) -> Context:
        """The encoder's blocks, and what the decoder sees of their output."""
        for block in self.encoder:
            assert isinstance(block, EncoderBlock)
            x_BND = x_BND + self_attend(block.attn, block.norm1(x_BND), mask_B1N)
            x_BND = x_BND + feed_forward(block.mlp, block.norm2(x_BND))
        features: Tensor = self.context_proj(self.encoder_norm(x_BND)) + embedding_BND
        return Context(features, mask_B1N)

    def select_inputs(self, samples: WorkingDict, tokens: int | None) -> Selected:
        """Embed every input modality whole and keep the first `tokens` that are visible."""
        contents, embeddings, masks, modalities = [], [], [], []
        for name, entry in samples.items():
            stream, number = self.plan.stream(name), self.plan.index(name)
            if not stream.can_be_input:
                continue
            key, side = module_name(name), self.encoder_embeddings
            if stream.is_dense:
                contents.append(self.dense[key](entry.tensor))
            else:
                padding = 0 if stream.layout == "sequence" else None
                contents.append(functional.embedding(entry.tensor, side.tokens[key], padding_idx=padding))
            if stream.layout == "grid":
                embeddings.append(side.grid(stream, len(entry.tensor)))
            else:
                embeddings.append(side.ranks(stream, entry.input_mask, None))
            masks.append(entry.input_mask)
            modalities.append(torch.full_like(entry.input_mask, number, dtype=torch.int16))
        hidden = torch.cat(masks, 1)
        if tokens is None:
            tokens = int((~hidden).sum(1).max())
        keep = _used_first(hidden)[:, :tokens]
        hidden = hidden.gather(1, keep)
        return Selected(
            content=_take(torch.cat(contents, 1), keep).masked_fill(hidden[..., None], 0.0),
            embedding=_take(torch.cat(embeddings, 1), keep).masked_fill(hidden[..., None], 0.0),
            hidden=hidden,
            modality=torch.cat(modalities, 1).gather(1, keep).masked_fill(hidden, -1),
        )

    def select_targets(self, samples: WorkingDict, tokens: int) -> Selected:
        """Embed every target modality whole and keep the first `tokens` that are to be predicted."""
        contents, embeddings, masks, modalities, ids, counts = [], [], [], [], [], []
        for name, entry in samples.items():
            stream, number = self.plan.stream(name), self.plan.index(name)
            if not stream.can_be_target:
                continue
            key, side, size = module_name(name), self.decoder_embeddings, len(entry.tensor)
            if stream.layout == "grid":
                contents.append(self.mask_token.expand(size, stream.length, -1))
                embeddings.append(side.grid(stream, size))
                ids.append(entry.tensor)
                masks.append(entry.target_mask)
                counts.append(entry.decoder_attention_mask)
            else:
                contents.append(functional.embedding(entry.tensor[:, :-1], side.tokens[key], padding_idx=0))
                embeddings.append(side.ranks(stream, entry.target_mask, stream.target_ranks)[:, :-1])
                ids.append(entry.tensor[:, 1:])
                masks.append(entry.target_mask[:, 1:] | entry.target_mask[:, :-1])
                counts.append(entry.decoder_attention_mask[:, :-1])
            modalities.append(torch.full_like(masks[-1], number, dtype=torch.int16))
        hidden = torch.cat(masks, 1)
        keep = _used_first(hidden)[:, :tokens]
        hidden = hidden.gather(1, keep)
        modality = torch.cat(modalities, 1).gather(1, keep)
        return Selected(
            content=_take(torch.cat(contents, 1), keep).masked_fill(hidden[..., None], 0.0),
            embedding=_take(torch.cat(embeddings, 1), keep).masked_fill(hidden[..., None], 0.0),
            hidden=hidden,
            modality=modality.masked_fill(hidden, -1),
            ids=torch.cat(ids, 1).gather(1, keep).masked_fill(hidden, 0),
            self_mask=separated_mask(torch.cat(counts, 1).gather(1, keep), modality),
        )

    def predict(self, hidden_BMD: Tensor, chosen: Selected) -> Tensor:
        """Mean cross-entropy of each modality, summed over them and divided by how many can be targets."""
        assert chosen.ids is not None
        losses = []
        for number, stream in enumerate(self.plan.streams):
            if not stream.can_be_target:
                continue
            own = chosen.modality == number
            logits = functional.linear(hidden_BMD[own], self.heads[module_name(stream.name)])
            targets = chosen.ids[own]
            losses.append(
                functional.cross_entropy(logits, targets) if len(targets) else hidden_BMD.new_zeros(())
            )
        return torch.stack(losses).sum() / len(losses)

    def decode_grid(
        self, samples: WorkingDict, name: str, context: Context, cells: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Predict cells of one modality, all at once; they see each other, and no mask is used.

        Args:
            samples: the working dictionary; the modality is embedded whole.
            name: the modality.
            context: of the encoder.
            cells: (B, M) which; None takes all that are still to be predicted, as many as in sample 0.

        Returns:
            (B, M) cells, and (B, M, V) logits.
        """
        stream, entry = self.plan.stream(name), samples[name]
        if cells is None:
            cells = remaining(entry)
        embedding = self.decoder_embeddings.grid(stream, len(entry.tensor))
        hidden = self.run_decoder(self.mask_token + _take(embedding, cells), context, None)
        return cells, functional.linear(hidden, self.heads[module_name(stream.name)])

    def decode_text(self, name: str, prefix_BM: Tensor, context: Context) -> Tensor:
        """Predict what follows each id of a prefix: (B, M, V) logits, all of them, as 4M's sampler does."""
        stream = self.plan.stream(name)
        key, side, length = module_name(stream.name), self.decoder_embeddings, prefix_BM.shape[1]
        nothing_hidden = torch.zeros_like(prefix_BM, dtype=torch.bool)
        y = functional.embedding(prefix_BM, side.tokens[key])
        y = y + side.ranks(stream, nothing_hidden, stream.target_ranks)
        future = torch.ones(1, length, length, dtype=torch.bool, device=y.device).triu(1)
        return functional.linear(self.run_decoder(y, context, future), self.heads[key])

    def decode(self, chosen: Selected, context: Context) -> Tensor:
        """Run the decoder over the targets: (B, M, D), normalised."""
        return self.run_decoder(chosen.content + chosen.embedding, context, chosen.self_mask)

    def run_decoder(self, y: Tensor, context: Context, self_mask: Tensor | None) -> Tensor:
        """The decoder's blocks: (B, M, D), normalised; `self_mask` (B, M, M) is True where not seen."""
        for block in self.decoder:
            assert isinstance(block, DecoderBlock)
            y = y + self_attend(block.self_attn, block.norm1(y), self_mask)
            y = y + cross_attend(
                block.cross_attn, block.query_norm(y), block.context_norm(context.features), context.mask
            )
            y = y + feed_forward(block.mlp, block.norm2(y))
        hidden: Tensor = self.decoder_norm(y)
        return hidden


def remaining(entry: Entry) -> Tensor:
    """Cells that are still to be predicted, (B, M) in their order; M is what sample 0 has left."""
    count = int((~entry.target_mask[0]).sum())
    return _used_first(entry.target_mask)[:, :count]


def has_shared_tables(model: AnyToAnyTransformer) -> bool:
    """Whether two modalities have the same rows, or a head is the decoder's table."""
    spaces = [stream.id_space for stream in model.plan.streams if stream.id_space is not None]
    return model.architecture.tie_head or len(set(spaces)) < len(spaces)


def separated_mask(counts_BM: Tensor, modality_BM: Tensor) -> Tensor:
    """True where a query does not see a key: one that opens later, or is of another modality. (B, M, M)."""
    slots = torch.arange(counts_BM.shape[1], device=counts_BM.device)
    too_late = slots >= counts_BM.cumsum(1)[..., None]
    return too_late | (modality_BM[..., None] != modality_BM[:, None, :])


def self_attend(layer: SelfAttention, x_BND: Tensor, mask: Tensor | None) -> Tensor:
    """Multi-head attention of the tokens of each sample. (B, N, D)."""
    size, length, _ = x_BND.shape
    packed = layer.qkv(x_BND).reshape(size, length, 3, layer.heads, layer.head_dim)
    q, k, v = packed.permute(2, 0, 3, 1, 4).unbind(0)
    return _attend(layer, q, k, v, mask)


def cross_attend(layer: CrossAttention, x_BMD: Tensor, context_BND: Tensor, mask: Tensor) -> Tensor:
    """Multi-head attention of each sample's targets to its context. (B, M, D)."""
    size, length, _ = context_BND.shape
    q = layer.q(x_BMD).reshape(size, -1, layer.heads, layer.head_dim).transpose(1, 2)
    packed = layer.kv(context_BND).reshape(size, length, 2, layer.heads, layer.head_dim)
    k, v = packed.permute(2, 0, 3, 1, 4).unbind(0)
    return _attend(layer, q, k, v, mask)


def feed_forward(layer: Mlp, x_BND: Tensor) -> Tensor:
    """fc2(act(fc1 x) * fc3 x), or without the gate."""
    hidden = layer.activation(layer.fc1(x_BND))
    if layer.fc3 is not None:
        hidden = hidden * layer.fc3(x_BND)
    out: Tensor = layer.fc2(hidden)
    return out


def _attend(layer: Heads, q_BHMK: Tensor, k_BHNK: Tensor, v_BHNK: Tensor, mask: Tensor | None) -> Tensor:
    q, k = layer.q_norm(q_BHMK), layer.k_norm(k_BHNK)
    scores = (q @ k.transpose(-2, -1)) * layer.head_dim**-0.5
    if mask is not None:
        scores = scores.masked_fill(mask[:, None], -torch.finfo(scores.dtype).max)
    out = (scores.softmax(-1) @ v_BHNK).transpose(1, 2).flatten(2)
    projected: Tensor = layer.proj(out)
    return projected


def _used_first(hidden_BA: Tensor) -> Tensor:
    """Indices that bring the used tokens of each sample to the front, in their order. (B, A)."""
    order = torch.arange(hidden_BA.shape[1], device=hidden_BA.device) * 1e-6
    return (hidden_BA + order).argsort(1)


def _take(tokens_BAD: Tensor, index_BN: Tensor) -> Tensor:
    return tokens_BAD.gather(1, index_BN[..., None].expand(-1, -1, tokens_BAD.shape[-1]))
