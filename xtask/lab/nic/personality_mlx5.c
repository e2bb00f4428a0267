// SPDX-License-Identifier: GPL-2.0
/*
 * mlx5_core of Linux 7.3.4, Ethernet, striding receive queue.
 *
 * mlx5e_ethtool_get_ringparam(): leaves tcp-data-split as the stack keeps it,
 *	so it reports nothing until a user sets it; hds-thresh is always 0.
 * mlx5e_ethtool_set_tcp_data_split(): refused with EINVAL while rx-gro-hw is
 *	off; mlx5e_fix_features() then keeps rx-gro-hw on.
 * mlx5e_ethtool_set_channels(): combined channels only.
 * mlx5e_rqt_size(): 256 buckets up to 64 channels.
 * mlx5e_set_rxfh(): RXH_XFRM_SYM_OR_XOR, and RXH_XFRM_NO_CHANGE keeps it.
 * validate_flow() in en_fs_ethtool.c: a rule's place has to be named.
 * mlx5e_post_rx_mpwqes(): after a failed allocation nothing schedules NAPI
 *	again; a queue whose ring ran dry stays dry.
 * mlx5e_get_queue_stats_rx(): no drops; counts go on.
 *
 * Not imitated: SHAMPO, the legacy receive queue (which polls without pause),
 * the reclaim of other descriptors' pages, resizing of RSS tables, rx_out_of_buffer
 * being one count for the whole function.
 */
#include "zcnic.h"

static const struct zcn_stat_name zcn_mlx5_stats[] = {
	{ "rx_buff_alloc_err", offsetof(struct zcn_rxq_stats, alloc_fail) },
	{ "rx_out_of_buffer", offsetof(struct zcn_rxq_stats, drop_no_buffer) },
	{ "rx%u_buff_alloc_err", offsetof(struct zcn_rxq_stats, alloc_fail),
	  true },
};

const struct zcn_personality zcn_mlx5 = {
	.name			= "mlx5",
	.driver			= "mlx5_core",
	.split_report		= ZCN_SPLIT_CONFIGURED,
	.split_needs_gro_hw	= true,
	.has_hds_thresh		= true,
	.has_gro_hw		= true,
	.channels		= ZCN_CHANNELS_COMBINED,
	.indir_len		= 256,
	.key_len		= 40,
	.input_xfrm		= RXH_XFRM_SYM_OR_XOR,
	.has_contexts		= true,
	.max_rules		= ZCN_MAX_RULES,
	.retry_never		= true,
	.stats			= zcn_mlx5_stats,
	.num_stats		= ARRAY_SIZE(zcn_mlx5_stats),
};
