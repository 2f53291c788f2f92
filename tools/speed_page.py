"""The words of docs/speed.md, which tools/bench_whole.py fills with figures."""

__all__ = ["TEXT"]

TEXT = """# What a whole shrink takes

Measured on {date} with {versions}, by `tools/bench_whole.py`: CPU seconds of a
whole fresh process with one thread, and the peak of its resident memory. One to eight other processes shared two cores
meanwhile, which adds up to half to the seconds, and makes timing take longer. Both sides of a row were measured one
after the other, so that their ratio is known better; it too may differ by a tenth from run to run.

The *bare export* is `torch.onnx.export(model.eval(), …, dynamo=True)` of the unpruned model with a batch that varies,
saved. The *whole shrink* halves the multiply-accumulates by L2 importance, proves the slim model at every node and its
gradients, writes all files, compares the ONNX file in onnxruntime with PyTorch on its own and on random weights, and
times it against the original's until their ratio is known to 1 %, or for two seconds. Both include imports and the
building of the model.

| model | bare export, s | whole shrink, s | whole ÷ bare | without timing ÷ bare | peak, bare, MB | peak, whole, MB |
| --- | --- | --- | --- | --- | --- | --- |
{whole}

## Where the seconds go

| model | {head} |
| --- | {rules} |
{stages}

"Onnxruntime" is the comparison with PyTorch, "original" the making of the original's ONNX model in memory, "timing" its
runs beside the slim model's, with the times of layers.

## Graph and cut alone

What every tool does before anything is proved or exported, in CPU seconds, each model in a fresh process. The graph: of
graphprune the capture, of torch-pruning and torch-kirigami their dependency graph. The cut: half of every group by L2
magnitude. torch-kirigami's search for what may be cut is left out.

| model | graph | of torch-pruning | of torch-kirigami | ÷ kirigami | graph and cut | of torch-pruning | ÷ pruning |
| --- | --- | --- | --- | --- | --- | --- | --- |
{alone}

## Deep models

A narrow transformer of 50, 100 and 200 layers, stage by stage: twice the nodes should take twice the seconds. Left
alone, torch's optimiser of ONNX models tries every slice with every other one, and so grows with the square of the
layers. Here it is shown only those that read the same value.

| nodes | {head} |
| --- | {rules} |
{deep}

## Why capture does not record

Capture is `torch.export`, after trials that find which sizes vary. A recorder that runs the model once on the meta
device, under a `TorchDispatchMode`, takes a twelfth of the seconds of `torch.export` alone. It was tried on the eight
models of torchvision above and on 72 small transformers, and left out (2026-12-01):

| | torchvision | transformers |
| --- | --- | --- |
| models that can be recorded; in the others Python asks for a value, where there is none | 8 of 8 | 34 of 72 |
| of these, CPU seconds of the recorder, of `torch.export`, of the whole capture | 0.5, 6.1, 8.1 | 1.3, 19.8, 36.0 |
| operators of the captured graphs that are recorded as they are | 755 of 2,533 | 2,843 of 7,141 |
| sizes that the captured graphs read, and numbers that they compute from these | 349 | 1,952 |

The last two rows are why. Below the dispatcher a linear layer is `t` and `addmm`, a convolution `convolution`, a norm
`native_layer_norm`, attention a chain of `bmm` and `_safe_softmax`. 60 operators were recorded that the captured graph
of the same model has not. Each would need its rule, its translation to ONNX and its layer, or patterns that guess which
layer it was. And a recorder sees sizes as plain numbers. Whether 197 was computed from the image, read off a weight or
written by hand, it cannot tell: `torch.export` keeps what was computed from what. Runs at several sizes could be
compared instead, but what is alike at a few sizes and not at others would be wrong without a word.

## What verification runs

The proof makes a fixed number of passes, whatever the model, as long as nothing differs beyond its tolerance:

| who | forward | backward | on |
| --- | --- | --- | --- |
| the user's model, and the captured program | 2 each | – | random tensors; one example, and the smallest sizes tried |
| the masked original | 2 | 1 | its own tensors at the smallest sizes; random ones in float64, on one example |
| the slim program | 2 | – | the same |
| the slim model's layers | 2 | 1 | the same |

That is six forward passes of the original, of which one is in float64, and four of the slim model. Random tensors are
drawn once for both. A test counts these passes. Gradients cost most memory: every value of a run in float64 is kept
until they have been taken.

In onnxruntime the file runs once on its own tensors, and its twin on random tensors at three sizes: as captured with
one example, the smallest that were tried, and the larger ones. Four more passes of the slim model in PyTorch choose
random tensors on which rounding does not grow, and see whether outputs depend on inputs.
"""
