// SPDX-License-Identifier: GPL-2.0
/* The module: two devices, the wire between them, and their life. */
#include <linux/etherdevice.h>
#include <linux/log2.h>
#include <linux/module.h>
#include <net/netdev_lock.h>
#include <net/rtnetlink.h>

#include "zcnic.h"

static unsigned int queues = 4;
module_param(queues, uint, 0444);
MODULE_PARM_DESC(queues, "receive and transmit queues of each device (default 4)");

static unsigned int ring_size = 256;
module_param(ring_size, uint, 0444);
MODULE_PARM_DESC(ring_size, "receive ring size at load, a power of two (default 256)");

static unsigned int channels;
module_param(channels, uint, 0444);
MODULE_PARM_DESC(channels, "queues in use after load (default: all)");

static char *personality = "plain";
module_param(personality, charp, 0444);
MODULE_PARM_DESC(personality, "whose ways it has: plain, bnxt, mlx5 or ice (default plain)");

static const struct zcn_personality *const zcn_personalities[] = {
	&zcn_plain, &zcn_bnxt, &zcn_mlx5, &zcn_ice,
};

const struct zcn_personality *zcn_as = &zcn_plain;

static struct zcn_dev *zcn_pair[2];
static struct dentry *zcn_debugfs;

static netdev_tx_t zcn_start_xmit(struct sk_buff *skb, struct net_device *dev)
{
	struct zcn_dev *zcn = netdev_priv(dev);
	struct net_device *peer;

	skb_tx_timestamp(skb);
	dev_sw_netstats_tx_add(dev, 1, skb->len);

	rcu_read_lock();
	peer = rcu_dereference(zcn->peer);
	if (peer)
		zcn_rx_frame(netdev_priv(peer), skb);
	rcu_read_unlock();

	/* The wire has taken its copy. */
	dev_consume_skb_any(skb);
	return NETDEV_TX_OK;
}

/* A link is up when both of its ends are. Called under RTNL. */
static void zcn_update_carrier(struct zcn_dev *zcn, bool running)
{
	struct net_device *peer = rtnl_dereference(zcn->peer);

	if (peer && running && netif_running(peer)) {
		netif_carrier_on(zcn->netdev);
		netif_carrier_on(peer);
	} else {
		netif_carrier_off(zcn->netdev);
		if (peer)
			netif_carrier_off(peer);
	}
}

static int zcn_open(struct net_device *dev)
{
	struct zcn_dev *zcn = netdev_priv(dev);
	int err;

	err = zcn_queues_start(zcn);
	if (err)
		return err;

	netif_tx_start_all_queues(dev);
	zcn_update_carrier(zcn, true);
	return 0;
}

static int zcn_stop(struct net_device *dev)
{
	struct zcn_dev *zcn = netdev_priv(dev);

	zcn_update_carrier(zcn, false);
	netif_tx_stop_all_queues(dev);
	zcn_queues_stop(zcn);
	return 0;
}

static void zcn_get_stats64(struct net_device *dev,
			    struct rtnl_link_stats64 *stats)
{
	struct zcn_dev *zcn = netdev_priv(dev);
	unsigned int i;

	dev_fetch_sw_netstats(stats, dev->tstats);
	for (i = 0; i < zcn->num_queues; i++) {
		struct zcn_rxq_stats s;

		zcn_rxq_read_stats(&zcn->rxq[i], &s);
		stats->rx_packets += s.packets;
		stats->rx_bytes += s.bytes;
		stats->rx_missed_errors += s.drop_no_buffer + s.drop_cq_full;
		stats->rx_dropped += s.drop_other + s.drop_fault;
	}
}

/* mlx5e_fix_features(): header split keeps hardware GRO on. */
static netdev_features_t zcn_fix_features(struct net_device *dev,
					  netdev_features_t features)
{
	if (zcn_as->split_needs_gro_hw && dev->cfg_pending &&
	    dev->cfg_pending->hds_config == ETHTOOL_TCP_DATA_SPLIT_ENABLED)
		features |= NETIF_F_GRO_HW;
	return features;
}

static const struct net_device_ops zcn_netdev_ops = {
	.ndo_fix_features	= zcn_fix_features,
	.ndo_open		= zcn_open,
	.ndo_stop		= zcn_stop,
	.ndo_start_xmit		= zcn_start_xmit,
	.ndo_get_stats64	= zcn_get_stats64,
	.ndo_set_mac_address	= eth_mac_addr,
	.ndo_validate_addr	= eth_validate_addr,
};

static void zcn_get_queue_stats_rx(struct net_device *dev, int idx,
				   struct netdev_queue_stats_rx *rx)
{
	struct zcn_dev *zcn = netdev_priv(dev);
	struct zcn_rxq_stats s;

	zcn_rxq_read_stats(&zcn->rxq[idx], &s);
	rx->packets = s.packets - zcn->rxq[idx].before.packets;
	rx->bytes = s.bytes - zcn->rxq[idx].before.bytes;
	rx->alloc_fail = s.alloc_fail - zcn->rxq[idx].before.alloc_fail;
	/* What a driver does not count stays unset. */
	if (!zcn_as->has_hw_drops)
		return;
	rx->hw_drops = s.drop_no_buffer + s.drop_cq_full + s.drop_other +
		       s.drop_fault;
	rx->hw_drop_overruns = s.drop_no_buffer + s.drop_cq_full;
}

/* Transmission is counted per CPU, not per queue. */
static void zcn_get_queue_stats_tx(struct net_device *dev, int idx,
				   struct netdev_queue_stats_tx *tx)
{
}

static void zcn_get_base_stats(struct net_device *dev,
			       struct netdev_queue_stats_rx *rx,
			       struct netdev_queue_stats_tx *tx)
{
	struct zcn_dev *zcn = netdev_priv(dev);
	struct zcn_rxq_stats s;
	unsigned int i;

	rx->packets = 0;
	rx->bytes = 0;
	rx->alloc_fail = 0;
	for (i = 0; i < zcn->num_queues; i++) {
		const struct zcn_rxq *q = &zcn->rxq[i];

		/* Of a queue that is not in use, all of it is from before. */
		s = q->before;
		if (i >= zcn->num_rx)
			zcn_rxq_read_stats(&zcn->rxq[i], &s);
		rx->packets += s.packets;
		rx->bytes += s.bytes;
		rx->alloc_fail += s.alloc_fail;
	}
	if (!zcn_as->has_hw_drops)
		return;
	rx->hw_drops = 0;
	rx->hw_drop_overruns = 0;
}

static const struct netdev_stat_ops zcn_stat_ops = {
	.get_queue_stats_rx	= zcn_get_queue_stats_rx,
	.get_queue_stats_tx	= zcn_get_queue_stats_tx,
	.get_base_stats		= zcn_get_base_stats,
};

static void zcn_setup(struct net_device *dev)
{
	ether_setup(dev);
	dev->netdev_ops = &zcn_netdev_ops;
	dev->ethtool_ops = &zcn_ethtool_ops;
	if (!zcn_as->no_queue_management)
		dev->queue_mgmt_ops = &zcn_queue_mgmt_ops;
	dev->stat_ops = &zcn_stat_ops;
	dev->request_ops_lock = true;
	dev->pcpu_stat_type = NETDEV_PCPU_STAT_TSTATS;
	dev->max_mtu = ZCN_MAX_MTU;
	/* Transmission takes the receiver's locks, which are not IRQ-safe. */
	dev->priv_flags |= IFF_DISABLE_NETPOLL;

	dev->hw_features = NETIF_F_SG | NETIF_F_HW_CSUM | NETIF_F_TSO |
			   NETIF_F_TSO6 | NETIF_F_RXHASH | NETIF_F_NTUPLE;
	/*
	 * RXCSUM cannot be switched off: the stack is not able to verify the
	 * checksum of payload that it cannot read.
	 */
	dev->features = dev->hw_features | NETIF_F_RXCSUM | NETIF_F_HIGHDMA;
	if (zcn_as->has_gro_hw)
		dev->hw_features |= NETIF_F_GRO_HW;
	if (zcn_as->gro_hw)
		dev->features |= NETIF_F_GRO_HW;
	dev->vlan_features = NETIF_F_SG | NETIF_F_HW_CSUM | NETIF_F_TSO |
			     NETIF_F_TSO6 | NETIF_F_HIGHDMA;
	eth_hw_addr_random(dev);
}

static void zcn_destroy(struct zcn_dev *zcn)
{
	struct platform_device *pdev;
	unsigned int i;

	if (!zcn)
		return;
	pdev = zcn->pdev;
	debugfs_remove_recursive(zcn->debugfs);
	for (i = 0; i < zcn->num_queues; i++)
		netif_napi_del(&zcn->rxq[i].napi);
	kvfree(zcn->rxq);
	free_netdev(zcn->netdev);
	platform_device_unregister(pdev);
}

static struct zcn_dev *zcn_create(int id)
{
	/* The parent is the device that memory providers map their memory for. */
	const struct platform_device_info info = {
		.name = KBUILD_MODNAME,
		.id = id,
		.dma_mask = DMA_BIT_MASK(64),
	};
	struct platform_device *pdev;
	struct net_device *dev;
	struct zcn_dev *zcn;
	char name[IFNAMSIZ];
	unsigned int i;

	pdev = platform_device_register_full(&info);
	if (IS_ERR(pdev))
		return ERR_CAST(pdev);

	snprintf(name, sizeof(name), "zcn%d", id);
	dev = alloc_netdev_mqs(sizeof(*zcn), name, NET_NAME_ENUM, zcn_setup,
			       queues, queues);
	if (!dev)
		goto err_pdev;
	SET_NETDEV_DEV(dev, &pdev->dev);

	zcn = netdev_priv(dev);
	zcn->netdev = dev;
	zcn->pdev = pdev;
	zcn->num_queues = queues;
	zcn->num_rx = channels;
	zcn->num_tx = channels;
	zcn->hds_thresh = zcn_as->hds_thresh;
	dev->cfg->hds_thresh = zcn_as->hds_thresh;
	zcn->ring_size = ring_size;
	zcn->rxq = kvcalloc(queues, sizeof(*zcn->rxq), GFP_KERNEL);
	if (!zcn->rxq)
		goto err_netdev;

	for (i = 0; i < queues; i++) {
		struct zcn_rxq *q = &zcn->rxq[i];

		q->zcn = zcn;
		q->idx = i;
		spin_lock_init(&q->lock);
		skb_queue_head_init(&q->cq);
		timer_setup(&q->retry, zcn_retry, 0);
		netif_napi_add_config(dev, &q->napi, zcn_poll, i);
	}
	if (netif_set_real_num_queues(dev, channels, channels))
		goto err_rxq;
	zcn_steer_init(zcn);
	zcn_fault_init(zcn, zcn_debugfs, name);
	netif_carrier_off(dev);
	return zcn;

err_rxq:
	for (i = 0; i < queues; i++)
		netif_napi_del(&zcn->rxq[i].napi);
	kvfree(zcn->rxq);
err_netdev:
	free_netdev(dev);
err_pdev:
	platform_device_unregister(pdev);
	return ERR_PTR(-ENOMEM);
}

static int __init zcn_init(void)
{
	int i, err;

	if (!queues || queues > ZCN_MAX_QUEUES) {
		pr_err("queues must be 1 to %d\n", ZCN_MAX_QUEUES);
		return -EINVAL;
	}
	if (ring_size < ZCN_RING_MIN || ring_size > ZCN_RING_MAX ||
	    !is_power_of_2(ring_size)) {
		pr_err("ring_size must be a power of two, %d to %d\n",
		       ZCN_RING_MIN, ZCN_RING_MAX);
		return -EINVAL;
	}

	if (!channels)
		channels = queues;
	if (channels > queues) {
		pr_err("channels must be 1 to queues (%u)\n", queues);
		return -EINVAL;
	}
	for (i = 0; i < ARRAY_SIZE(zcn_personalities); i++)
		if (!strcmp(personality, zcn_personalities[i]->name))
			zcn_as = zcn_personalities[i];
	if (strcmp(personality, zcn_as->name)) {
		pr_err("no personality \"%s\": plain, bnxt, mlx5 and ice\n",
		       personality);
		return -EINVAL;
	}
	zcn_ethtool_init();

	zcn_debugfs = debugfs_create_dir(KBUILD_MODNAME, NULL);
	for (i = 0; i < 2; i++) {
		zcn_pair[i] = zcn_create(i);
		if (IS_ERR(zcn_pair[i])) {
			err = PTR_ERR(zcn_pair[i]);
			zcn_pair[i] = NULL;
			goto err_destroy;
		}
	}

	rtnl_lock();
	rcu_assign_pointer(zcn_pair[0]->peer, zcn_pair[1]->netdev);
	rcu_assign_pointer(zcn_pair[1]->peer, zcn_pair[0]->netdev);
	for (i = 0; i < 2; i++) {
		err = register_netdevice(zcn_pair[i]->netdev);
		if (err)
			goto err_unregister;
	}
	rtnl_unlock();
	return 0;

err_unregister:
	if (i)
		unregister_netdevice(zcn_pair[0]->netdev);
	rtnl_unlock();
err_destroy:
	zcn_destroy(zcn_pair[0]);
	zcn_destroy(zcn_pair[1]);
	debugfs_remove_recursive(zcn_debugfs);
	return err;
}

static void __exit zcn_exit(void)
{
	int i;

	/* Either end may be in any network namespace, up, and bound. */
	rtnl_lock();
	for (i = 0; i < 2; i++)
		RCU_INIT_POINTER(zcn_pair[i]->peer, NULL);
	for (i = 0; i < 2; i++)
		unregister_netdevice(zcn_pair[i]->netdev);
	rtnl_unlock();

	for (i = 0; i < 2; i++)
		zcn_destroy(zcn_pair[i]);
	debugfs_remove_recursive(zcn_debugfs);
}

module_init(zcn_init);
module_exit(zcn_exit);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("Software NIC pair whose receive queues host memory providers");
MODULE_IMPORT_NS("NETDEV_INTERNAL");
