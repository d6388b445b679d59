"""The rivals of textgen in quality, in PyTorch: an LSTM as a good user trains it, and nanoGPT.

Each rival takes the ids to train on, sizes, the dropout and a seed. `step(done)` trains on the next
chunk when the share `done` of the time is over; `validation_loss(ids)` reads a whole text.
"""

import math
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from typing import Any

import numpy as np
import torch
from peers import Ids, Sizes, Torch, chunks
from torch import nn
from torch.nn import functional

from textgen.system.processor import has_bfloat16

_ROWS = 16  # streams in which a validation text is read


class TorchLSTM(Torch):
    """The LSTM of the peers, with AdamW, dropout and a cosine.

    A rate of 0.008 is better in two epochs of Tiny Shakespeare, but diverges in longer trainings.
    """

    rate = 0.004
    warm_up = 50
    largest_norm = 1.0

    def __init__(self, ids: Ids, sizes: Sizes, dropout: float, seed: int) -> None:
        super().__init__(ids, sizes, "bfloat16" if has_bfloat16() else "float32", seed)
        self.layers.dropout = dropout if sizes.layers > 1 else 0.0
        self.output = nn.Sequential(nn.Dropout(dropout), self.output)
        self._optimizer = torch.optim.AdamW(self._parameters, self.rate, fused=True)
        self._step = 0

    def step(self, done: float) -> None:
        self._step += 1
        rate = self.rate * min(1.0, self._step / self.warm_up)
        self._optimizer.param_groups[0]["lr"] = rate * (1 + math.cos(math.pi * done)) / 2
        self.train(*next(self._chunks))

    def validation_loss(self, ids: Ids) -> float:
        """Read the text in streams, with the state carried."""
        sizes = replace(self._sizes, batch_size=_ROWS)
        count = (len(ids) - 1) // _ROWS // sizes.chunk_length
        state, losses = None, []
        parts = nn.ModuleList([self.layers, self.output]).eval()
        with torch.inference_mode():
            for inputs, targets in islice(chunks(ids, sizes), count):
                loss, state = self.loss(inputs, targets, state)
                losses.append(float(loss))
        parts.train()
        return float(np.mean(losses))


class NanoGPT:
    """The transformer of nanoGPT, trained by its recipe for Tiny Shakespeare on a processor.

    4 layers of 4 heads and 128 numbers, windows of 64 characters, 12 at a time, without dropout
    (github.com/karpathy/nanoGPT, README). The recipe's 2,000 steps are as many as the time allows.
    """

    layers, heads, width, window, rows = 4, 4, 128, 64, 12
    rate, least_rate, warm_up = 1e-3, 1e-4, 100

    def __init__(self, ids: Ids, sizes: Sizes, dropout: float, seed: int) -> None:
        del dropout  # it has none
        torch.manual_seed(seed)
        self._rng = np.random.default_rng(seed)
        self._ids = ids.astype(np.int64)
        self._network = _Transformer(
            sizes.vocabulary, self.layers, self.heads, self.width, self.window
        )
        matrices = [p for p in self._network.parameters() if p.dim() > 1]
        vectors = [p for p in self._network.parameters() if p.dim() < 2]
        self._optimizer = torch.optim.AdamW(
            [{"params": matrices, "weight_decay": 0.1}, {"params": vectors, "weight_decay": 0.0}],
            self.rate,
            betas=(0.9, 0.99),
            fused=True,
        )
        self._step = 0

    def step(self, done: float) -> None:
        self._step += 1
        falling = (1 + math.cos(math.pi * done)) / 2
        rate = self.least_rate + (self.rate - self.least_rate) * falling
        for group in self._optimizer.param_groups:
            group["lr"] = rate * min(1.0, self._step / self.warm_up)
        starts = self._rng.integers(len(self._ids) - self.window, size=self.rows)
        windows = np.stack([self._ids[start : start + self.window + 1] for start in starts])
        loss = self._losses(windows).mean()
        self._optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self._network.parameters(), 1.0)
        self._optimizer.step()

    def validation_loss(self, ids: Ids) -> float:
        """Predict each character once, from half a window or more before it."""
        half = self.window // 2
        losses = []
        with torch.inference_mode():
            for windows in self._windows(ids.astype(np.int64), half):
                found = self._losses(windows)
                losses.append(found[:, half:].flatten())
        return float(torch.cat(losses).mean())

    def _windows(self, ids: Ids, step: int) -> Iterator[Ids]:
        starts = np.arange(0, len(ids) - self.window, step)
        for first in range(0, len(starts), 256):
            yield np.stack([ids[s : s + self.window + 1] for s in starts[first : first + 256]])

    def _losses(self, windows: Ids) -> Any:
        """(B, T + 1) -> (B, T)"""
        inputs, targets = torch.from_numpy(windows[:, :-1]), torch.from_numpy(windows[:, 1:])
        with torch.autocast("cpu", torch.bfloat16, enabled=has_bfloat16()):
            logits = self._network(inputs)
        return functional.cross_entropy(logits.float().transpose(1, 2), targets, reduction="none")


class _Transformer(nn.Module):
    """Pre-norm layers without biases; the output shares the embedding."""

    def __init__(self, vocabulary: int, layers: int, heads: int, width: int, window: int) -> None:
        super().__init__()
        self.tokens = nn.Embedding(vocabulary, width)
        self.places = nn.Embedding(window, width)
        self.layers = nn.ModuleList([_Layer(heads, width) for _ in range(layers)])
        self.norm = nn.LayerNorm(width, bias=False)
        for name, weight in self.named_parameters():
            if weight.dim() > 1:
                into_sum = name.endswith(("gather.weight", "down.weight"))
                nn.init.normal_(weight, 0, 0.02 / math.sqrt(2 * layers) if into_sum else 0.02)

    def forward(self, tokens: Any) -> Any:
        """(B, T) -> (B, T, V)"""
        x = self.tokens(tokens) + self.places.weight[: tokens.shape[1]]
        for layer in self.layers:
            x = layer(x)
        return self.norm(x) @ self.tokens.weight.T


class _Layer(nn.Module):
    def __init__(self, heads: int, width: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(width, bias=False)
        self.split = nn.Linear(width, 3 * width, bias=False)
        self.gather = nn.Linear(width, width, bias=False)
        self.second_norm = nn.LayerNorm(width, bias=False)
        self.up = nn.Linear(width, 4 * width, bias=False)
        self.down = nn.Linear(4 * width, width, bias=False)

    def forward(self, x: Any) -> Any:
        rows, steps, width = x.shape
        parts = self.split(self.norm(x)).view(rows, steps, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        heads = functional.scaled_dot_product_attention(*parts, is_causal=True)
        x = x + self.gather(heads.transpose(1, 2).reshape(rows, steps, width))
        return x + self.down(functional.gelu(self.up(self.second_norm(x))))
