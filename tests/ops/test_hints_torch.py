"""Every name of PyTorch's tensors is ours, or says what is."""

from __future__ import annotations

from support.peers import import_torch
from tinygrad_cupy import Tensor
from tinygrad_cupy.ops import hints

# What has nothing that stands for it: layouts, sharing and storage of PyTorch's own, sparse and
# quantized tensors; linear algebra, special functions and distributions.
WITHOUT = frozenset(
    (
        *("as_subclass", "const_data_ptr", "hash_tensor", "layout", "module_load", "name", "new_"),
        *("is_coalesced", "is_conj", "is_distributed", "is_inference", "is_neg", "is_nested"),
        *("is_pinned", "is_quantized", "is_set_to", "is_shared", "is_sparse", "is_sparse_csr"),
        *("is_meta", "is_mkldnn", "is_mps", "is_mtia", "is_ipu", "is_maia", "is_vulkan", "is_xla"),
        *("is_xpu", "ipu", "mtia", "xpu", "volatile", "output_nr", "retains_grad", "reinforce"),
        *("pin_memory", "record_stream", "resolve_conj", "resolve_neg", "share_memory_", "storage"),
        *("storage_offset", "storage_type", "untyped_storage", "new_empty_strided", "coalesce"),
        *("ccol_indices", "col_indices", "crow_indices", "row_indices", "indices", "values"),
        *("dense_dim", "sparse_dim", "sparse_mask", "sparse_resize_", "sparse_resize_and_clear_"),
        *("resize_as_sparse_", "slice_inverse", "smm", "sspaddmm", "to_dense", "to_mkldnn"),
        *("to_padded_tensor", "to_sparse", "to_sparse_bsc", "to_sparse_bsr", "to_sparse_coo"),
        *("to_sparse_csc", "to_sparse_csr", "dequantize", "int_repr", "q_per_channel_axis"),
        *("q_per_channel_scales", "q_per_channel_zero_points", "q_scale", "q_zero_point"),
        *("qscheme", "cdouble", "cfloat", "chalf", "conj_physical", "nonzero_static", "stft"),
        *("istft", "map2_", "renorm", "resize", "resize_as", "as_strided", "as_strided_"),
        *("as_strided_scatter", "diagonal_scatter", "index_reduce", "index_reduce_"),
        *("unique_consecutive", "mode", "cholesky", "cholesky_inverse", "cholesky_solve", "det"),
        *("eig", "geqrf", "logdet", "lstsq", "lu", "lu_solve", "matrix_exp", "matrix_power"),
        *("orgqr", "ormqr", "qr", "slogdet", "solve", "svd", "symeig", "triangular_solve"),
        *("digamma", "erfc", "erfinv", "igamma", "igammac", "lgamma", "logcumsumexp", "mvlgamma"),
        *("polygamma", "cummax", "cummin", "topk", "bernoulli", "cauchy_", "exponential_"),
        *("geometric_", "log_normal_", "multinomial"),
    )
)


def test_every_name_of_pytorch_has_an_answer() -> None:
    torch = import_torch()
    names = [name for name in dir(torch.Tensor) if not name.startswith("_")]
    ours = set(dir(Tensor))
    unanswered = {name for name in names if name not in ours and hints.for_method(name) is None}
    plain = {name.removesuffix("_") for name in WITHOUT} | WITHOUT
    assert {name for name in unanswered if name.removesuffix("_") not in plain} == set()
