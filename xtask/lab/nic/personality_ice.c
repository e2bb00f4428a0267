// SPDX-License-Identifier: GPL-2.0
/*
 * ice of Linux 7.3.4.
 *
 * ice_get_ringparam(), ice_set_ringparam(): tcp-data-split as in force, "auto"
 *	is off; there is no hds-thresh.
 * ice_set_channels(): combined channels and more of one kind; refused with
 *	EOPNOTSUPP while there are flow rules.
 * ice_set_rxfh(): RXH_XFRM_SYM_XOR; RXH_XFRM_NO_CHANGE has that bit set too and
 *	so switches symmetric hashing on.
 * ice_add_fdir_ethtool(): a rule's place has to be named.
 * There are no queue management operations: zcrx cannot register a queue.
 *
 * Not imitated: ADQ, RDMA, flow rules' input sets, a 2048-entry table.
 */
#include "zcnic.h"

static const struct zcn_stat_name zcn_ice_stats[] = {
	{ "rx_pg_alloc_fail", offsetof(struct zcn_rxq_stats, alloc_fail) },
	{ "rx_queue_%u_packets", offsetof(struct zcn_rxq_stats, packets), true },
	{ "rx_queue_%u_bytes", offsetof(struct zcn_rxq_stats, bytes), true },
};

const struct zcn_personality zcn_ice = {
	.name			= "ice",
	.driver			= "ice",
	.split_report		= ZCN_SPLIT_IN_FORCE,
	.channels		= ZCN_CHANNELS_ASYMMETRIC,
	.other_channels		= 1,
	.rules_fix_channels	= true,
	.indir_len		= 512,
	.key_len		= 52,
	.input_xfrm		= RXH_XFRM_SYM_XOR,
	.no_change_sets_xfrm	= true,
	.max_rules		= ZCN_MAX_RULES,
	.no_queue_management	= true,
	.stats			= zcn_ice_stats,
	.num_stats		= ARRAY_SIZE(zcn_ice_stats),
};
