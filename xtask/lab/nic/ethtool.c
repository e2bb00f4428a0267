// SPDX-License-Identifier: GPL-2.0
/* What ethtool sees: rings and header split, RSS, flow rules, statistics. */
#include <linux/log2.h>
#include <net/netdev_lock.h>
#include <net/netdev_queues.h>
#include <net/netdev_rx_queue.h>

#include "zcnic.h"

/* ---- rings and header/data split ---- */

static void zcn_get_ringparam(struct net_device *dev,
			      struct ethtool_ringparam *ring,
			      struct kernel_ethtool_ringparam *kring,
			      struct netlink_ext_ack *extack)
{
	struct zcn_dev *zcn = netdev_priv(dev);

	ring->rx_max_pending = ZCN_RING_MAX;
	ring->rx_pending = zcn->ring_size;
	kring->tcp_data_split = zcn->hds ? ETHTOOL_TCP_DATA_SPLIT_ENABLED :
					   ETHTOOL_TCP_DATA_SPLIT_DISABLED;
	kring->hds_thresh = zcn->hds_thresh;
	kring->hds_thresh_max = ZCN_HDS_THRESH_MAX;
}

/* Gives every queue new memory as configured now; each keeps its provider. */
static int zcn_restart_queues(struct zcn_dev *zcn)
{
	unsigned int i;
	int err;

	if (!netif_running(zcn->netdev))
		return 0;
	for (i = 0; i < zcn->num_queues; i++) {
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

static void zcn_get_channels(struct net_device *dev,
			     struct ethtool_channels *channels)
{
	struct zcn_dev *zcn = netdev_priv(dev);

	channels->max_combined = zcn->num_queues;
	channels->combined_count = zcn->num_queues;
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

	return zcn->num_queues;
}

static u32 zcn_get_rxfh_key_size(struct net_device *dev)
{
	return ZCN_RSS_KEY_LEN;
}

static u32 zcn_get_rxfh_indir_size(struct net_device *dev)
{
	return ZCN_INDIR_LEN;
}

static int zcn_get_rxfh(struct net_device *dev, struct ethtool_rxfh_param *rxfh)
{
	struct zcn_dev *zcn = netdev_priv(dev);

	rxfh->hfunc = ETH_RSS_HASH_TOP;
	if (rxfh->indir)
		memcpy(rxfh->indir, zcn->indir, sizeof(zcn->indir));
	if (rxfh->key)
		memcpy(rxfh->key, zcn->rss_key, sizeof(zcn->rss_key));
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
		memcpy(zcn->indir, rxfh->indir, sizeof(zcn->indir));
	if (rxfh->key)
		memcpy(zcn->rss_key, rxfh->key, sizeof(zcn->rss_key));
	spin_unlock_bh(&zcn->steer_lock);
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

	for (i = 0; i < ZCN_MAX_RULES; i++) {
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
	cmd->data = ZCN_MAX_RULES;
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
		cmd->data |= RX_CLS_LOC_SPECIAL;
		return err;
	case ETHTOOL_GRXCLSRLALL:
		if (!locations && cmd->rule_cnt)
			return -EINVAL;
		return zcn_list_rules(zcn, cmd, locations);
	case ETHTOOL_GRXCLSRULE:
		if (location >= ZCN_MAX_RULES)
			return -EINVAL;
		if (!zcn->rules[location].used)
			return -ENOENT;
		cmd->fs = zcn->rules[location].fs;
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
		return zcn_rule_insert(zcn, &cmd->fs);
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
	ZCN_STAT(polls),
	ZCN_STAT(retries),
	ZCN_STAT(starts),
};

/* After the counters, what is so at the moment. */
static const char * const zcn_rxq_gauge[] = { "posted", "provider" };

#define ZCN_STATS_PER_QUEUE \
	(ARRAY_SIZE(zcn_rxq_stat) + ARRAY_SIZE(zcn_rxq_gauge))

static int zcn_get_sset_count(struct net_device *dev, int sset)
{
	struct zcn_dev *zcn = netdev_priv(dev);

	if (sset != ETH_SS_STATS)
		return -EOPNOTSUPP;
	return zcn->num_queues * ZCN_STATS_PER_QUEUE;
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
		*data++ = netif_rxq_has_unreadable_mp(dev, q);
	}
}

const struct ethtool_ops zcn_ethtool_ops = {
	.supported_ring_params	= ETHTOOL_RING_USE_TCP_DATA_SPLIT |
				  ETHTOOL_RING_USE_HDS_THRS,
	.op_needs_rtnl		= ETHTOOL_OP_NEEDS_RTNL_GLINK,
	.get_link		= ethtool_op_get_link,
	.get_link_ksettings	= zcn_get_link_ksettings,
	.get_ringparam		= zcn_get_ringparam,
	.set_ringparam		= zcn_set_ringparam,
	.get_channels		= zcn_get_channels,
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
