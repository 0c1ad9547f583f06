"""Row 7: next-token sampling with guidance, against transformers' Llama with a static cache and the same weights.

A Token-Shuffle model that shuffles nothing is a Llama. It has fewer blocks than the smallest released generators, so
that the row is short; the other numbers are theirs. Two shares say how far ours is from what the machine can do: at
one image each step reads all weights once, at 16 with both halves of guidance it multiplies them by 32 rows.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM, LogitsProcessor

import zellige
from benchmarks.harness import Bench, Peer, require
from benchmarks.machine import Calibration, read_bandwidth
from zellige.core.noise import Noise
from zellige.systems.token_shuffle import TokenShuffle

SIDE, CODES, CLASSES = 16, 4096, 10
WIDTH, HEADS, HIDDEN, DEPTH = 768, 12, 2048, 2
BATCHES = (1, 16)
GUIDANCE = 2.0


def run(bench: Bench) -> None:
    """Require equal likeliest ids, then compare; the shares are of the same runs of ours."""
    torch.manual_seed(0)
    ours = zellige.build(
        "token-shuffle/small",
        side=1,
        layout=((SIDE, SIDE),),
        codebook=(CODES,),
        classes=CLASSES,
        dim=WIDTH,
        depth=DEPTH,
        heads=HEADS,
        hidden=HIDDEN,
    )
    assert isinstance(ours, TokenShuffle)
    nn.init.normal_(ours.head.weight, std=0.02)  # a fresh one is zero, and all codes are as likely
    ours.eval()
    theirs = llama(ours)
    for batch in BATCHES:
        labels = torch.arange(batch) % CLASSES

        def sample(labels: Tensor = labels) -> Tensor:
            return ours.sample(labels, guidance=GUIDANCE, schedule="constant", temperature=0.0).data

        def their_sample(labels: Tensor = labels) -> Tensor:
            return generate(theirs, labels)

        differ = int((sample() != their_sample()).sum())
        require(not differ, f"{differ} ids differ")
        before, bandwidth = Calibration.measure(), read_bandwidth()
        bench.compare(
            f"{SIDE * SIDE} tokens, {DEPTH} blocks of {WIDTH}, {batch} at a time, guided",
            ("token-shuffle, side 1", sample),
            [Peer("transformers LlamaForCausalLM.generate, static cache", their_sample)],
            equal="all likeliest ids",
        )
        around = before, Calibration.measure()
        timing = bench.comparisons[-1]
        if batch == 1:
            what, unit = "weights read, of the bandwidth of memory", "GB/s"
            done, peak = weight_bytes(ours) * SIDE * SIDE / 1e9, max(bandwidth, read_bandwidth())
        else:
            what, unit = f"operations, of the rate of float32 products; {2 * batch} rows", "GFLOP/s"
            done, peak = operations(ours, labels) / 1e9, max(calibration.float32 for calibration in around)
        rate = done / timing.ours.median
        bench.fact(timing.job, what, f"{rate / peak:.0%} ({rate:.0f} of {peak:.0f} {unit})", around=around)


def weight_bytes(model: TokenShuffle) -> int:
    """Bytes of the weights that a step reads: all but the tables, of which it reads some rows."""
    tables = {id(part.weight) for part in model.modules() if isinstance(part, nn.Embedding)}
    return sum(p.numel() * p.element_size() for p in model.parameters() if id(p) not in tables)


def operations(model: TokenShuffle, labels: Tensor) -> int:
    """Floating-point operations of the products of one call, without those of attention (less than a tenth)."""
    counter = FlopCounterMode(display=False)
    settings = model.settings({"guidance": GUIDANCE, "temperature": 0.0})
    with counter, torch.inference_mode():
        model._sample(labels, Noise(range(len(labels))), settings)
    return counter.get_total_flops()


def llama(ours: TokenShuffle) -> LlamaForCausalLM:
    """transformers' network with the weights of ours: after the codes its vocabulary has the classes, and none.

    A pair of channels that rotary positions turn is adjacent in ours, half a head apart in theirs.
    """
    size = WIDTH // HEADS
    theirs = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=CODES + CLASSES + 1,
            hidden_size=WIDTH,
            intermediate_size=HIDDEN,
            num_hidden_layers=DEPTH,
            num_attention_heads=HEADS,
            max_position_embeddings=SIDE * SIDE + 1,
            rms_norm_eps=1e-5,
            bos_token_id=None,
            eos_token_id=None,
        )
    )
    own = ours.state_dict()
    state = {
        "model.embed_tokens.weight": torch.cat([own["embedding.weight"], own["condition.table.weight"]]),
        "model.norm.weight": own["norm.weight"],
        "lm_head.weight": torch.cat([own["head.weight"], torch.zeros(CLASSES + 1, WIDTH)]),
    }
    for i in range(DEPTH):
        here, there = f"transformer.blocks.{i}", f"model.layers.{i}"
        q, k, v = own[f"{here}.attention.qkv.weight"].chunk(3)
        for name, rows in (("q", q), ("k", k)):
            halves = rows.unflatten(0, (HEADS, size // 2, 2)).transpose(1, 2).flatten(0, 2)
            state[f"{there}.self_attn.{name}_proj.weight"] = halves
        state[f"{there}.self_attn.v_proj.weight"] = v
        for name, their in (
            ("attention.out", "self_attn.o_proj"),
            ("mlp.gate", "mlp.gate_proj"),
            ("mlp.up", "mlp.up_proj"),
            ("mlp.down", "mlp.down_proj"),
            ("norm1", "input_layernorm"),
            ("norm2", "post_attention_layernorm"),
        ):
            state[f"{there}.{their}.weight"] = own[f"{here}.{name}.weight"]
    theirs.load_state_dict(state)
    return theirs.eval()


class Guide(LogitsProcessor):
    """Guided logits for both halves of the batch, so that both go on with the same ids."""

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        conditional, null = scores.chunk(2)
        return (null + GUIDANCE * (conditional - null)).repeat(2, 1)


def generate(theirs: LlamaForCausalLM, labels: Tensor) -> Tensor:
    """The likeliest ids (B, L) for labels (B,), by their loop."""
    start = CODES + torch.cat([labels, torch.full_like(labels, CLASSES)])[:, None]
    settings = GenerationConfig(
        max_new_tokens=SIDE * SIDE, do_sample=False, cache_implementation="static", pad_token_id=0
    )
    ids = theirs.generate(
        start, attention_mask=torch.ones_like(start), generation_config=settings, logits_processor=[Guide()]
    )
    return ids[: len(labels), 1:]
