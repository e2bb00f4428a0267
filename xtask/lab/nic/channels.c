// SPDX-License-Identifier: GPL-2.0
/* How many queues are in use, and which counts a personality accepts. */
#include <net/netdev_lock.h>

#include "zcnic.h"

void zcn_get_channels(struct net_device *dev, struct ethtool_channels *channels)
{
	struct zcn_dev *zcn = netdev_priv(dev);
	u32 combined = zcn->separate ? 0 : min(zcn->num_rx, zcn->num_tx);

	channels->max_combined = zcn->num_queues;
	channels->combined_count = combined;
	channels->max_other = zcn_as->other_channels;
	channels->other_count = zcn_as->other_channels;
	if (zcn_as->channels != ZCN_CHANNELS_EITHER &&
	    zcn_as->channels != ZCN_CHANNELS_ASYMMETRIC)
		return;
	channels->max_rx = zcn->num_queues;
	channels->max_tx = zcn->num_queues;
	channels->rx_count = zcn->num_rx - combined;
	channels->tx_count = zcn->num_tx - combined;
}

static int zcn_check_channels(struct zcn_dev *zcn,
			      const struct ethtool_channels *channels)
{
	unsigned int i;

	if (channels->other_count != zcn_as->other_channels)
		return -EINVAL;
	switch (zcn_as->channels) {
	case ZCN_CHANNELS_FIXED:
		return -EOPNOTSUPP;
	case ZCN_CHANNELS_COMBINED:
		if (!channels->combined_count)
			return -EINVAL;
		break;
	case ZCN_CHANNELS_EITHER:
		if (channels->combined_count ?
		    channels->rx_count || channels->tx_count :
		    !channels->rx_count || !channels->tx_count)
			return -EINVAL;
		break;
	case ZCN_CHANNELS_ASYMMETRIC:
		if (channels->rx_count && channels->tx_count)
			return -EINVAL;
		if (!channels->combined_count)
			return -EINVAL;
		break;
	}
	for (i = 0; zcn_as->rules_fix_channels && i < zcn_as->max_rules; i++)
		if (zcn->rules[i].used)
			return -EOPNOTSUPP;
	return 0;
}

static int zcn_use_channels(struct zcn_dev *zcn, unsigned int rx,
			    unsigned int tx)
{
	struct net_device *dev = zcn->netdev;
	int err;

	err = netif_set_real_num_queues(dev, tx, rx);
	if (err)
		return err;
	zcn->num_rx = rx;
	zcn->num_tx = tx;
	if (netif_is_rxfh_configured(dev))
		return 0;
	spin_lock_bh(&zcn->steer_lock);
	zcn_default_indir(zcn, zcn->indir[0]);
	spin_unlock_bh(&zcn->steer_lock);
	return 0;
}

int zcn_set_channels(struct net_device *dev, struct ethtool_channels *channels)
{
	unsigned int rx = channels->rx_count + channels->combined_count;
	unsigned int tx = channels->tx_count + channels->combined_count;
	struct zcn_dev *zcn = netdev_priv(dev);
	unsigned int old_rx = zcn->num_rx, old_tx = zcn->num_tx;
	bool running = netif_running(dev);
	bool separate = zcn->separate;
	int err;

	err = zcn_check_channels(zcn, channels);
	if (err)
		return err;
	if (rx > zcn->num_queues || tx > zcn->num_queues)
		return -EINVAL;

	if (running)
		zcn_queues_stop(zcn);
	err = zcn_use_channels(zcn, rx, tx);
	if (!err) {
		zcn->separate = !channels->combined_count;
		if (running)
			err = zcn_queues_start(zcn);
	}
	if (err) {
		zcn->separate = separate;
		if (zcn_use_channels(zcn, old_rx, old_tx) ||
		    (running && zcn_queues_start(zcn)))
			netdev_err(dev, "no queues are left: set the interface down and up\n");
	}
	return err;
}
