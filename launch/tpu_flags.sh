#!/usr/bin/env bash
# launch/tpu_flags.sh TYPE: XLA's flags for a generation of TPUs, on one line, for LIBTPU_INIT_ARGS.
#
#   export LIBTPU_INIT_ARGS="$(launch/tpu_flags.sh v5p-64)"
#
# TYPE is the name of a slice (v5litepod-16, v5p-64, v6e-8, tpu7x-8), or what GKE calls its generation (tpu-v5p-slice).
# The flags are those that others train with on that generation (the sources below, read in November 2026); libtpu
# 0.0.42.1 knows all of them and has compiled with them. What they bring to this code no TPU has measured.
set -euo pipefail

flags=()
add() { flags+=("$1"); }

# All-gathers (of fsdp's slices, of sequence's keys) go on while matmuls are computed: in every set of the sources.
beside_matmuls() {
  add --xla_enable_async_all_gather=true              # they are started, and waited for later
  add --xla_tpu_enable_async_collective_fusion=true   # and joined with the matmuls beside them
}

# More of that: MaxText, benchmarks/xla_flags_library.py, CF_FOR_ALL_GATHER ("continuation fusion").
continuation_fusion() {
  add --xla_tpu_enable_async_collective_fusion_fuse_all_gather=true     # all-gathers too
  add --xla_tpu_enable_async_collective_fusion_multiple_steps=true      # over several matmuls
  add --xla_tpu_overlap_compute_collective_tc=true                      # by the core that computes
}

# Sums of gradients over `data`: MaxText, the same file, DATA_PARALLEL_OVERLAP.
gradients_beside_layers() {
  add --xla_tpu_enable_data_parallel_all_reduce_opt=true   # all-reduces of data parallelism are pipelined
  add --xla_tpu_data_parallel_opt_different_sized_ops=true # also where they differ in size
}

# A schedule that hides more: tpu-recipes, wan2.1-14b on v5p and on tpu7x alike.
wan_schedule() {
  add --xla_enable_async_all_reduce=true
  add --xla_tpu_enable_async_all_to_all=true
  add --xla_max_concurrent_async_all_gathers=4
  add --xla_latency_hiding_scheduler_rerun=5 # tries again with less memory where a schedule needs too much
}

case "${1:-}" in
  -h | --help)
    sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p;}' "$0"
    exit 0
    ;;
  v5e* | v5lite* | tpu-v5-lite*)
    # MaxText, src/MaxText/configs/v5e/16b.sh.
    beside_matmuls
    continuation_fusion
    gradients_beside_layers
    ;;
  v5p* | tpu-v5p*)
    # tpu-recipes, training/v5p/wan2.1-14b/bf16-v5p-16: it says that tpu7x's set hangs on a v5p of 2x2x2.
    beside_matmuls
    wan_schedule
    add --xla_tpu_scoped_vmem_limit_kib=65472 # of a core's fast memory, what one operation may take
    ;;
  v6e* | tpu-v6e*)
    # tpu-recipes, training/trillium/Llama3.1-8B-MaxText/v6e-8, without its SparseCore and host-offload groups.
    beside_matmuls
    continuation_fusion
    gradients_beside_layers
    add --xla_tpu_scoped_vmem_limit_kib=98304
    # MaxText, xla_flags_library.py, LAYOUT_FOR_ALL_REDUCE_SCATTER: layouts that need no turning for a reduce-scatter.
    add --xla_tpu_use_minor_sharding_for_major_trivial_input=true
    add --xla_tpu_relayout_group_size_threshold_for_reduce_scatter=1
    add --xla_tpu_assign_all_reduce_scatter_layout=true
    ;;
  tpu7x* | v7x*)
    # tpu-recipes, training/ironwood/wan2.1-14b/bf16-tpu7x-4x4x4: the collectives on the SparseCores.
    beside_matmuls
    wan_schedule
    add --xla_tpu_scoped_vmem_limit_kib=65536
    add --xla_tpu_enable_async_collective_fusion_fuse_all_gather=true
    add --xla_tpu_enable_sparse_core_collective_offload_all_gather=true
    add --xla_tpu_enable_sparse_core_collective_offload_2d_all_gather=true
    add --xla_tpu_enable_sparse_core_collective_offload_all_reduce=true
    add --xla_tpu_enable_sparse_core_collective_offload_reduce_scatter=true
    add --xla_tpu_enable_sparse_core_reduce_scatter_v2=true
    add --xla_tpu_enable_all_gather_offload_tracing=true # the profiler sees them
    add --xla_tpu_use_tc_device_shape_on_sc=true         # both kinds of core take a slice's shape alike
    add --xla_tpu_prefer_async_allgather_to_allreduce=true
    ;;
  *)
    echo "error: '${1:-}' is no type of TPU that has flags here: v5e, v5p, v6e or tpu7x (--help says more)" >&2
    exit 2
    ;;
esac
echo "${flags[*]}"
