// SPDX-License-Identifier: GPL-2.0
/*
 * bnxt_en of Linux 7.3.4, P5 and later chips.
 *
 * bnxt_get_ringparam(): tcp-data-split is "on" whenever aggregation rings are
 *	used, that is also because of hardware GRO or a large MTU.
 * bnxt_set_ringparam(): "off" is refused with EINVAL and no words; "auto" is
 *	how header split ends.
 * bnxt_set_channels(): combined channels or separate ones, never both.
 * bnxt_get_rxfh_indir_size(): 64 buckets (BNXT_RSS_TABLE_ENTRIES_P5) up to 64
 *	rings, where the firmware has no large table.
 * bnxt_srxclsrlins(): RX_CLS_LOC_ANY only; bnxt_insert_ntp_filter() takes the
 *	lowest free place.
 * __bnxt_rx_agg_netmems(): a received buffer is handed on only against a new
 *	one. Without one the frame is dropped and its buffers stay posted: the
 *	ring never runs dry, and an area that fits into the ring receives nothing.
 * bnxt_get_queue_stats_rx(), bnxt_get_base_stats(): no drops; a queue's counts
 *	begin at zero at each open.
 *
 * Not imitated: the firmware, ring reservation, TPA, aRFS, link changes.
 */
#include "zcnic.h"

static const struct zcn_stat_name zcn_bnxt_stats[] = {
	{ "rx_total_oom_discards", offsetof(struct zcn_rxq_stats, oom_discards) },
	{ "[%u]: rx_discards", offsetof(struct zcn_rxq_stats, drop_no_buffer),
	  true },
};

const struct zcn_personality zcn_bnxt = {
	.name			= "bnxt",
	.driver			= "bnxt_en",
	.split_report		= ZCN_SPLIT_AGGREGATION,
	.split_off_refused	= true,
	.has_hds_thresh		= true,
	.hds_thresh_max		= 1023,	/* BNXT_HDS_THRESHOLD_MAX */
	.hds_thresh		= 256,	/* BNXT_MIN_RX_HDR_BUF */
	.has_gro_hw		= true,
	.gro_hw			= true,
	.channels		= ZCN_CHANNELS_EITHER,
	.indir_len		= 64,
	.key_len		= 40,
	.has_contexts		= true,
	.max_rules		= ZCN_MAX_RULES,
	.places_rules		= true,
	.any_place_only		= true,
	.low_places_first	= true,
	.keeps_buffers		= true,
	.counters_restart	= true,
	.stats			= zcn_bnxt_stats,
	.num_stats		= ARRAY_SIZE(zcn_bnxt_stats),
};
