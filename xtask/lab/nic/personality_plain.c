// SPDX-License-Identifier: GPL-2.0
/*
 * The NIC's own ways: it reports what is in force, takes rules wherever it is
 * asked to, and retries after a starvation as gve does
 * (gve_rx_post_buffers_dqo() and its timer).
 */
#include "zcnic.h"

const struct zcn_personality zcn_plain = {
	.name			= "plain",
	.driver			= "zcnic",
	.split_report		= ZCN_SPLIT_IN_FORCE,
	.has_hds_thresh		= true,
	.hds_thresh_max		= ZCN_HDS_THRESH_MAX,
	.channels		= ZCN_CHANNELS_COMBINED,
	.indir_len		= 128,
	.key_len		= 40,
	.has_contexts		= true,
	.max_rules		= ZCN_MAX_RULES,
	.places_rules		= true,
	.retry_ms		= 20,
	.has_hw_drops		= true,
};
