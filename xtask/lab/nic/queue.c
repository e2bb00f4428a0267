// SPDX-License-Identifier: GPL-2.0
/*
 * A receive queue's memory, and how a queue starts and stops. The stack calls
 * the queue management ops to swap the memory of one queue under traffic: that
 * is how a memory provider takes a queue and gives it back.
 */
#include <linux/dma-mapping.h>
#include <linux/log2.h>
#include <net/netdev_lock.h>
#include <net/page_pool/helpers.h>

#include "zcnic.h"

static int zcn_ring_alloc(struct zcn_rxq *q,
			  const struct netdev_queue_config *qcfg,
			  struct zcn_ring *ring)
{
	struct zcn_dev *zcn = q->zcn;
	struct page_pool_params params = {
		.flags = PP_FLAG_DMA_MAP | PP_FLAG_DMA_SYNC_DEV,
		.order = get_order(qcfg->rx_page_size),
		.pool_size = zcn->ring_size,
		.nid = NUMA_NO_NODE,
		.dev = zcn->netdev->dev.parent,
		.dma_dir = DMA_FROM_DEVICE,
		.max_len = qcfg->rx_page_size,
		.netdev = zcn->netdev,
		.queue_idx = q->idx,
	};
	struct page_pool *pp;

	/* The driver reads headers; without a split they are in these buffers. */
	if (zcn->hds && !READ_ONCE(zcn->faults.readable_pools))
		params.flags |= PP_FLAG_ALLOW_UNREADABLE_NETMEM;

	memset(ring, 0, sizeof(*ring));
	ring->bufs = kvcalloc(zcn->ring_size, sizeof(*ring->bufs), GFP_KERNEL);
	if (!ring->bufs)
		return -ENOMEM;

	pp = page_pool_create(&params);
	if (IS_ERR(pp)) {
		kvfree(ring->bufs);
		ring->bufs = NULL;
		return PTR_ERR(pp);
	}
	ring->pp = pp;
	ring->size = zcn->ring_size;
	ring->buf_len = qcfg->rx_page_size;
	return 0;
}

static void zcn_ring_free(struct zcn_ring *ring)
{
	netmem_ref netmem;

	if (!ring->pp)
		return;
	while ((netmem = zcn_ring_take(ring)))
		page_pool_put_full_netmem(ring->pp, netmem, false);
	page_pool_destroy(ring->pp);
	kvfree(ring->bufs);
	memset(ring, 0, sizeof(*ring));
}

/* Takes over @mem, which is empty afterwards. */
static void zcn_rxq_start(struct zcn_rxq *q, struct zcn_ring *mem)
{
	q->ring = *mem;
	q->filled = false;
	memset(mem, 0, sizeof(*mem));
	/* Not sooner: a ring may be freed unused while NAPI runs on another. */
	page_pool_enable_direct_recycling(q->ring.pp, &q->napi);

	napi_enable_locked(&q->napi);
	q->running = true;

	spin_lock_bh(&q->lock);
	q->stats.starts++;
	q->up = true;
	spin_unlock_bh(&q->lock);

	/* The first poll fills the ring, and retries if that fails. */
	local_bh_disable();
	napi_schedule(&q->napi);
	local_bh_enable();
}

/* Leaves the queue's memory in @mem, with what was posted still in it. */
static void zcn_rxq_stop(struct zcn_rxq *q, struct zcn_ring *mem)
{
	memset(mem, 0, sizeof(*mem));
	if (!q->running)
		return;

	spin_lock_bh(&q->lock);
	q->up = false;
	spin_unlock_bh(&q->lock);

	napi_disable_locked(&q->napi);
	timer_delete_sync(&q->retry);
	q->running = false;

	skb_queue_purge(&q->cq);
	page_pool_disable_direct_recycling(q->ring.pp);
	*mem = q->ring;
	memset(&q->ring, 0, sizeof(q->ring));
}

int zcn_queues_start(struct zcn_dev *zcn)
{
	struct zcn_ring *rings;
	unsigned int i;
	int err = 0;

	rings = kvcalloc(zcn->num_queues, sizeof(*rings), GFP_KERNEL);
	if (!rings)
		return -ENOMEM;

	for (i = 0; i < zcn->num_rx; i++) {
		struct netdev_queue_config qcfg;

		/* The stack asks the queue management ops for its answer. */
		memset(&qcfg, 0, sizeof(qcfg));
		qcfg.rx_page_size = PAGE_SIZE;
		if (!zcn_as->no_queue_management)
			netdev_queue_config(zcn->netdev, i, &qcfg);
		err = zcn_ring_alloc(&zcn->rxq[i], &qcfg, &rings[i]);
		if (err)
			goto out;
	}
	for (i = 0; i < zcn->num_rx; i++) {
		if (zcn_as->counters_restart)
			zcn_rxq_read_stats(&zcn->rxq[i], &zcn->rxq[i].before);
		netif_queue_set_napi(zcn->netdev, i, NETDEV_QUEUE_TYPE_RX,
				     &zcn->rxq[i].napi);
		zcn_rxq_start(&zcn->rxq[i], &rings[i]);
	}
out:
	/* Rings that were taken over are empty here. */
	for (i = 0; i < zcn->num_rx; i++)
		zcn_ring_free(&rings[i]);
	kvfree(rings);
	return err;
}

void zcn_queues_stop(struct zcn_dev *zcn)
{
	unsigned int i;

	for (i = 0; i < zcn->num_rx; i++) {
		struct zcn_ring mem;

		zcn_rxq_stop(&zcn->rxq[i], &mem);
		netif_queue_set_napi(zcn->netdev, i, NETDEV_QUEUE_TYPE_RX,
				     NULL);
		zcn_ring_free(&mem);
	}
}

/* Stops and starts everything: how a driver without queue management restarts. */
int zcn_reopen(struct zcn_dev *zcn)
{
	zcn_queues_stop(zcn);
	return zcn_queues_start(zcn);
}

static int zcn_queue_mem_alloc(struct net_device *dev,
			       struct netdev_queue_config *qcfg, void *mem,
			       int idx)
{
	struct zcn_dev *zcn = netdev_priv(dev);

	if (zcn_fault_next(&zcn->faults.fail_queue_alloc)) {
		u32 err = READ_ONCE(zcn->faults.fail_queue_errno);

		/* The stack takes no other number for a failure. */
		return err && err <= MAX_ERRNO ? -(int)err : -ENOMEM;
	}
	return zcn_ring_alloc(&zcn->rxq[idx], qcfg, mem);
}

static void zcn_queue_mem_free(struct net_device *dev, void *mem)
{
	zcn_ring_free(mem);
}

static int zcn_queue_start(struct net_device *dev,
			   struct netdev_queue_config *qcfg, void *mem, int idx)
{
	struct zcn_dev *zcn = netdev_priv(dev);

	if (zcn_fault_next(&zcn->faults.fail_queue_start))
		return -EIO;
	zcn_rxq_start(&zcn->rxq[idx], mem);
	return 0;
}

static int zcn_queue_stop(struct net_device *dev, void *mem, int idx)
{
	struct zcn_dev *zcn = netdev_priv(dev);

	zcn_rxq_stop(&zcn->rxq[idx], mem);
	return 0;
}

static void zcn_default_qcfg(struct net_device *dev,
			     struct netdev_queue_config *qcfg)
{
	qcfg->rx_page_size = PAGE_SIZE;
}

static int zcn_validate_qcfg(struct net_device *dev,
			     struct netdev_queue_config *qcfg,
			     struct netlink_ext_ack *extack)
{
	if (!is_power_of_2(qcfg->rx_page_size) ||
	    qcfg->rx_page_size < PAGE_SIZE ||
	    qcfg->rx_page_size > ZCN_MAX_RX_PAGE_SIZE) {
		NL_SET_ERR_MSG(extack, "rx_page_size is not a power of two from a page to 64 KiB");
		return -ERANGE;
	}
	return 0;
}

const struct netdev_queue_mgmt_ops zcn_queue_mgmt_ops = {
	.ndo_queue_mem_size	= sizeof(struct zcn_ring),
	.ndo_queue_mem_alloc	= zcn_queue_mem_alloc,
	.ndo_queue_mem_free	= zcn_queue_mem_free,
	.ndo_queue_start	= zcn_queue_start,
	.ndo_queue_stop		= zcn_queue_stop,
	.ndo_default_qcfg	= zcn_default_qcfg,
	.ndo_validate_qcfg	= zcn_validate_qcfg,
	.supported_params	= QCFG_RX_PAGE_SIZE,
};
