// SPDX-License-Identifier: GPL-2.0
/* What ethtool sees: rings and header split, RSS, flow rules, statistics. */
#include <linux/log2.h>
#include <net/netdev_lock.h>
#include <net/netdev_queues.h>
#include <net/netdev_rx_queue.h>

#include "zcnic.h"

/* ---- rings and header/data split ---- */

/* Whether bnxt would use aggregation rings: frames do not fit into one buffer. */
static bool zcn_aggregates(struct zcn_dev *zcn)
{
	return zcn->hds || zcn->netdev->features & NETIF_F_GRO_HW ||
	       zcn->netdev->mtu > 3400;
}

static bool zcn_reports_split(struct zcn_dev *zcn)
{
	return zcn_as->split_report == ZCN_SPLIT_AGGREGATION ?
		zcn_aggregates(zcn) : zcn->hds;
}

static void zcn_get_ringparam(struct net_device *dev,
			      struct ethtool_ringparam *ring,
			      struct kernel_ethtool_ringparam *kring,
			      struct netlink_ext_ack *extack)
{
	struct zcn_dev *zcn = netdev_priv(dev);

	ring->rx_max_pending = ZCN_RING_MAX;
	ring->rx_pending = zcn->ring_size;
	if (zcn_as->split_report == ZCN_SPLIT_AGGREGATION && zcn_aggregates(zcn)) {
		/* The aggregation ring is where payload goes. */
		ring->rx_jumbo_max_pending = ZCN_RING_MAX;
		ring->rx_jumbo_pending = zcn->ring_size;
	}
	/* Left alone, it is what the stack keeps. */
	if (zcn_as->split_report != ZCN_SPLIT_CONFIGURED)
		kring->tcp_data_split = zcn_reports_split(zcn) ?
			ETHTOOL_TCP_DATA_SPLIT_ENABLED :
			ETHTOOL_TCP_DATA_SPLIT_DISABLED;
	if (zcn_as->has_hds_thresh) {
		kring->hds_thresh = zcn->hds_thresh;
		kring->hds_thresh_max = zcn_as->hds_thresh_max;
	}
}

/* Gives every queue new memory as configured now; each keeps its provider. */
static int zcn_restart_queues(struct zcn_dev *zcn)
{
	unsigned int i;
	int err;

	if (!netif_running(zcn->netdev))
		return 0;
	if (zcn_as->no_queue_management)
		return zcn_reopen(zcn);
	for (i = 0; i < zcn->num_rx; i++) {
		err = netdev_rx_queue_restart(zcn->netdev, i);
		if (err)
			return err;
	}
	return 0;
}

static int zcn_set_ringparam(struct net_device *dev,
			     struct ethtool_ringparam *ring,
			     struct kernel_ethtool_ringparam *kring,
			     struct netlink_ext_ack *extack)
{
	struct zcn_dev *zcn = netdev_priv(dev);
	u32 old_thresh = zcn->hds_thresh;
	u32 old_size = zcn->ring_size;
	bool old_hds = zcn->hds;
	int err;

	if (ring->rx_pending < ZCN_RING_MIN ||
	    !is_power_of_2(ring->rx_pending)) {
		NL_SET_ERR_MSG(extack, "rx ring size must be a power of two from 32 to 4096");
		return -EINVAL;
	}

	if (zcn_as->split_off_refused &&
	    kring->tcp_data_split == ETHTOOL_TCP_DATA_SPLIT_DISABLED &&
	    dev->cfg->hds_config != ETHTOOL_TCP_DATA_SPLIT_DISABLED)
		return -EINVAL;
	if (zcn_as->split_needs_gro_hw &&
	    kring->tcp_data_split == ETHTOOL_TCP_DATA_SPLIT_ENABLED &&
	    !(dev->features & NETIF_F_GRO_HW)) {
		NL_SET_ERR_MSG(extack, "TCP-data-split is not supported when GRO HW is disabled");
		return -EINVAL;
	}

	if (zcn_as->has_hds_thresh)
		zcn->hds_thresh = kring->hds_thresh;
	zcn->ring_size = ring->rx_pending;
	/* "auto" leaves the choice to the driver, which sees no need. */
	zcn->hds = kring->tcp_data_split == ETHTOOL_TCP_DATA_SPLIT_ENABLED;
	if (zcn->ring_size == old_size && zcn->hds == old_hds)
		return 0;

	err = zcn_restart_queues(zcn);
	if (err) {
		zcn->hds_thresh = old_thresh;
		zcn->ring_size = old_size;
		zcn->hds = old_hds;
		if (zcn_restart_queues(zcn))
			NL_SET_ERR_MSG(extack, "queues are left with mixed settings; set the interface down and up");
	}
	return err;
}

static void zcn_get_drvinfo(struct net_device *dev, struct ethtool_drvinfo *info)
{
	strscpy(info->driver, zcn_as->driver, sizeof(info->driver));
	/* A model says that it is one. */
	strscpy(info->fw_version, "zcnic model", sizeof(info->fw_version));
	strscpy(info->bus_info, dev_name(dev->dev.parent),
		sizeof(info->bus_info));
}

static int zcn_get_link_ksettings(struct net_device *dev,
				  struct ethtool_link_ksettings *settings)
{
	ethtool_link_ksettings_zero_link_mode(settings, supported);
	settings->base.speed = SPEED_100000;
	settings->base.duplex = DUPLEX_FULL;
	settings->base.autoneg = AUTONEG_DISABLE;
	settings->base.port = PORT_NONE;
	return 0;
}

/* ---- RSS ---- */

static u32 zcn_get_rx_ring_count(struct net_device *dev)
{
	struct zcn_dev *zcn = netdev_priv(dev);

	return zcn->num_rx;
}

static u32 zcn_get_rxfh_key_size(struct net_device *dev)
{
	return zcn_as->key_len;
}

static u32 zcn_get_rxfh_indir_size(struct net_device *dev)
{
	return zcn_as->indir_len;
}

static int zcn_get_rxfh(struct net_device *dev, struct ethtool_rxfh_param *rxfh)
{
	struct zcn_dev *zcn = netdev_priv(dev);

	rxfh->hfunc = ETH_RSS_HASH_TOP;
	rxfh->input_xfrm = zcn->input_xfrm;
	if (rxfh->indir)
		memcpy(rxfh->indir, zcn->indir[0],
		       zcn_as->indir_len * sizeof(u32));
	if (rxfh->key)
		memcpy(rxfh->key, zcn->rss_key, zcn_as->key_len);
	return 0;
}

static int zcn_set_rxfh(struct net_device *dev, struct ethtool_rxfh_param *rxfh,
			struct netlink_ext_ack *extack)
{
	struct zcn_dev *zcn = netdev_priv(dev);

	if (rxfh->hfunc != ETH_RSS_HASH_NO_CHANGE &&
	    rxfh->hfunc != ETH_RSS_HASH_TOP)
		return -EOPNOTSUPP;

	spin_lock_bh(&zcn->steer_lock);
	if (rxfh->indir)
		memcpy(zcn->indir[0], rxfh->indir,
		       zcn_as->indir_len * sizeof(u32));
	if (rxfh->key)
		memcpy(zcn->rss_key, rxfh->key, zcn_as->key_len);
	if (zcn_as->no_change_sets_xfrm)
		zcn->input_xfrm = rxfh->input_xfrm & zcn_as->input_xfrm;
	else if (rxfh->input_xfrm != RXH_XFRM_NO_CHANGE)
		zcn->input_xfrm = rxfh->input_xfrm;
	spin_unlock_bh(&zcn->steer_lock);
	return 0;
}

/* Contexts hash with the device's key: only their tables are their own. */
static int zcn_create_rxfh_context(struct net_device *dev,
				   struct ethtool_rxfh_context *ctx,
				   const struct ethtool_rxfh_param *rxfh,
				   struct netlink_ext_ack *extack)
{
	struct zcn_dev *zcn = netdev_priv(dev);
	u32 *indir = zcn->indir[rxfh->rss_context];

	spin_lock_bh(&zcn->steer_lock);
	zcn_default_indir(zcn, indir);
	if (rxfh->indir)
		memcpy(indir, rxfh->indir, zcn_as->indir_len * sizeof(u32));
	spin_unlock_bh(&zcn->steer_lock);
	memcpy(ethtool_rxfh_context_indir(ctx), indir,
	       zcn_as->indir_len * sizeof(u32));
	return 0;
}

static int zcn_modify_rxfh_context(struct net_device *dev,
				   struct ethtool_rxfh_context *ctx,
				   const struct ethtool_rxfh_param *rxfh,
				   struct netlink_ext_ack *extack)
{
	struct zcn_dev *zcn = netdev_priv(dev);

	if (!rxfh->indir)
		return 0;
	spin_lock_bh(&zcn->steer_lock);
	memcpy(zcn->indir[rxfh->rss_context], rxfh->indir,
	       zcn_as->indir_len * sizeof(u32));
	spin_unlock_bh(&zcn->steer_lock);
	return 0;
}

static int zcn_remove_rxfh_context(struct net_device *dev,
				   struct ethtool_rxfh_context *ctx,
				   u32 rss_context,
				   struct netlink_ext_ack *extack)
{
	return 0;
}

static int zcn_get_rxfh_fields(struct net_device *dev,
			       struct ethtool_rxfh_fields *fields)
{
	fields->data = RXH_IP_SRC | RXH_IP_DST;
	switch (fields->flow_type) {
	case TCP_V4_FLOW:
	case TCP_V6_FLOW:
	case UDP_V4_FLOW:
	case UDP_V6_FLOW:
		fields->data |= RXH_L4_B_0_1 | RXH_L4_B_2_3;
		return 0;
	case IPV4_FLOW:
	case IPV6_FLOW:
		return 0;
	default:
		fields->data = 0;
		return 0;
	}
}

/* ---- flow rules ---- */

static int zcn_list_rules(struct zcn_dev *zcn, struct ethtool_rxnfc *cmd,
			  u32 *locations)
{
	u32 i, n = 0;

	for (i = 0; i < zcn_as->max_rules; i++) {
		if (!zcn->rules[i].used)
			continue;
		if (locations) {
			if (n == cmd->rule_cnt)
				return -EMSGSIZE;
			locations[n] = i;
		}
		n++;
	}
	cmd->rule_cnt = n;
	cmd->data = zcn_as->max_rules;
	return 0;
}

static int zcn_get_rxnfc(struct net_device *dev, struct ethtool_rxnfc *cmd,
			 u32 *locations)
{
	struct zcn_dev *zcn = netdev_priv(dev);
	u32 location = cmd->fs.location;
	int err;

	switch (cmd->cmd) {
	case ETHTOOL_GRXCLSRLCNT:
		err = zcn_list_rules(zcn, cmd, NULL);
		if (zcn_as->places_rules)
			cmd->data |= RX_CLS_LOC_SPECIAL;
		return err;
	case ETHTOOL_GRXCLSRLALL:
		if (!locations && cmd->rule_cnt)
			return -EINVAL;
		return zcn_list_rules(zcn, cmd, locations);
	case ETHTOOL_GRXCLSRULE:
		if (location >= zcn_as->max_rules)
			return -EINVAL;
		if (!zcn->rules[location].used)
			return -ENOENT;
		cmd->fs = zcn->rules[location].fs;
		cmd->rss_context = zcn->rules[location].context;
		return 0;
	default:
		return -EOPNOTSUPP;
	}
}

static int zcn_set_rxnfc(struct net_device *dev, struct ethtool_rxnfc *cmd)
{
	struct zcn_dev *zcn = netdev_priv(dev);

	switch (cmd->cmd) {
	case ETHTOOL_SRXCLSRLINS:
		return zcn_rule_insert(zcn, cmd);
	case ETHTOOL_SRXCLSRLDEL:
		return zcn_rule_delete(zcn, cmd->fs.location);
	default:
		return -EOPNOTSUPP;
	}
}

/* ---- statistics ---- */

#define ZCN_STAT(field) { #field, offsetof(struct zcn_rxq_stats, field) }

static const struct {
	const char *name;
	size_t offset;
} zcn_rxq_stat[] = {
	ZCN_STAT(packets),
	ZCN_STAT(bytes),
	ZCN_STAT(split),
	ZCN_STAT(unsplit),
	ZCN_STAT(unsplit_bytes),
	ZCN_STAT(niov_bytes),
	ZCN_STAT(page_bytes),
	ZCN_STAT(drop_no_buffer),
	ZCN_STAT(drop_cq_full),
	ZCN_STAT(drop_other),
	ZCN_STAT(drop_fault),
	ZCN_STAT(alloc_fail),
	ZCN_STAT(oom_discards),
	ZCN_STAT(polls),
	ZCN_STAT(retries),
	ZCN_STAT(starts),
};

/* After the counters, what is so at the moment. */
static const char * const zcn_rxq_gauge[] = { "posted", "provider" };

#define ZCN_STATS_PER_QUEUE \
	(ARRAY_SIZE(zcn_rxq_stat) + ARRAY_SIZE(zcn_rxq_gauge))

/* How many counters the personality has under names of its own. */
static unsigned int zcn_named_stats(struct zcn_dev *zcn)
{
	unsigned int i, n = 0;

	for (i = 0; i < zcn_as->num_stats; i++)
		n += zcn_as->stats[i].per_queue ? zcn->num_queues : 1;
	return n;
}

static u64 zcn_named_stat(struct zcn_dev *zcn, const struct zcn_stat_name *stat,
			  unsigned int first, unsigned int last)
{
	struct zcn_rxq_stats stats;
	unsigned int q;
	u64 sum = 0;

	for (q = first; q <= last; q++) {
		zcn_rxq_read_stats(&zcn->rxq[q], &stats);
		sum += *(u64 *)((u8 *)&stats + stat->offset);
	}
	return sum;
}

static int zcn_get_sset_count(struct net_device *dev, int sset)
{
	struct zcn_dev *zcn = netdev_priv(dev);

	if (sset != ETH_SS_STATS)
		return -EOPNOTSUPP;
	return zcn->num_queues * ZCN_STATS_PER_QUEUE + zcn_named_stats(zcn);
}

static void zcn_get_strings(struct net_device *dev, u32 sset, u8 *data)
{
	struct zcn_dev *zcn = netdev_priv(dev);
	unsigned int q, i;

	if (sset != ETH_SS_STATS)
		return;
	for (q = 0; q < zcn->num_queues; q++) {
		for (i = 0; i < ARRAY_SIZE(zcn_rxq_stat); i++)
			ethtool_sprintf(&data, "rx%u_%s", q,
					zcn_rxq_stat[i].name);
		for (i = 0; i < ARRAY_SIZE(zcn_rxq_gauge); i++)
			ethtool_sprintf(&data, "rx%u_%s", q, zcn_rxq_gauge[i]);
	}
	for (i = 0; i < zcn_as->num_stats; i++) {
		const struct zcn_stat_name *stat = &zcn_as->stats[i];

		if (!stat->per_queue)
			ethtool_puts(&data, stat->name);
		for (q = 0; stat->per_queue && q < zcn->num_queues; q++)
			ethtool_sprintf(&data, stat->name, q);
	}
}

static void zcn_get_ethtool_stats(struct net_device *dev,
				  struct ethtool_stats *unused, u64 *data)
{
	struct zcn_dev *zcn = netdev_priv(dev);
	unsigned int q, i;

	for (q = 0; q < zcn->num_queues; q++) {
		struct zcn_rxq *rxq = &zcn->rxq[q];
		struct zcn_rxq_stats stats;

		zcn_rxq_read_stats(rxq, &stats);
		for (i = 0; i < ARRAY_SIZE(zcn_rxq_stat); i++)
			*data++ = *(u64 *)((u8 *)&stats +
					   zcn_rxq_stat[i].offset);
		*data++ = zcn_ring_posted(&rxq->ring);
		*data++ = q < zcn->num_rx && netif_rxq_has_unreadable_mp(dev, q);
	}
	for (i = 0; i < zcn_as->num_stats; i++) {
		const struct zcn_stat_name *stat = &zcn_as->stats[i];

		if (!stat->per_queue)
			*data++ = zcn_named_stat(zcn, stat, 0,
						 zcn->num_queues - 1);
		for (q = 0; stat->per_queue && q < zcn->num_queues; q++)
			*data++ = zcn_named_stat(zcn, stat, q, q);
	}
}

/* Completed at load: what it offers depends on the personality. */
struct ethtool_ops zcn_ethtool_ops = {
	.supported_ring_params	= ETHTOOL_RING_USE_TCP_DATA_SPLIT,
	.rxfh_max_num_contexts	= ZCN_MAX_CONTEXTS,
	.op_needs_rtnl		= ETHTOOL_OP_NEEDS_RTNL_GLINK |
				  ETHTOOL_OP_NEEDS_RTNL_SCHANNELS,
	.get_drvinfo		= zcn_get_drvinfo,
	.get_link		= ethtool_op_get_link,
	.get_link_ksettings	= zcn_get_link_ksettings,
	.get_ringparam		= zcn_get_ringparam,
	.set_ringparam		= zcn_set_ringparam,
	.get_channels		= zcn_get_channels,
	.set_channels		= zcn_set_channels,
	.get_rx_ring_count	= zcn_get_rx_ring_count,
	.get_rxfh_key_size	= zcn_get_rxfh_key_size,
	.get_rxfh_indir_size	= zcn_get_rxfh_indir_size,
	.get_rxfh		= zcn_get_rxfh,
	.set_rxfh		= zcn_set_rxfh,
	.get_rxfh_fields	= zcn_get_rxfh_fields,
	.get_rxnfc		= zcn_get_rxnfc,
	.set_rxnfc		= zcn_set_rxnfc,
	.get_sset_count		= zcn_get_sset_count,
	.get_strings		= zcn_get_strings,
	.get_ethtool_stats	= zcn_get_ethtool_stats,
};

void zcn_ethtool_init(void)
{
	struct ethtool_ops *ops = &zcn_ethtool_ops;

	if (zcn_as->has_hds_thresh)
		ops->supported_ring_params |= ETHTOOL_RING_USE_HDS_THRS;
	ops->supported_input_xfrm = zcn_as->input_xfrm;
	if (zcn_as->has_contexts) {
		ops->create_rxfh_context = zcn_create_rxfh_context;
		ops->modify_rxfh_context = zcn_modify_rxfh_context;
		ops->remove_rxfh_context = zcn_remove_rxfh_context;
	}
}
