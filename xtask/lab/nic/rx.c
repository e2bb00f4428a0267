// SPDX-License-Identifier: GPL-2.0
/*
 * The receive path. The hardware half runs in the sender's context: it parses
 * a frame, picks the queue, writes the payload into posted buffers and raises
 * the interrupt. The driver half is the NAPI poll: it hands completed frames to
 * the stack and posts new buffers. A frame that the hardware drops without
 * buffers raises no interrupt, as in silicon: nothing but a retry of its own
 * wakes a driver whose ring ran dry.
 */
#include <linux/etherdevice.h>
#include <linux/io.h>
#include <net/gro.h>
#include <net/netdev_rx_queue.h>
#include <net/page_pool/helpers.h>

#include "zcnic.h"

u32 zcn_ring_posted(const struct zcn_ring *ring)
{
	/* Pairs with the doorbell in zcn_refill(). */
	return smp_load_acquire(&ring->tail) - READ_ONCE(ring->head);
}

netmem_ref zcn_ring_take(struct zcn_ring *ring)
{
	netmem_ref netmem;

	if (!zcn_ring_posted(ring))
		return 0;
	netmem = ring->bufs[ring->head & (ring->size - 1)];
	/* The slot may be written again once the driver sees the new head. */
	smp_store_release(&ring->head, ring->head + 1);
	return netmem;
}

/* ---- hardware ---- */

/* A net_iov has no address for the CPU: a device reaches it over the bus. */
static void *zcn_dma_target(netmem_ref netmem)
{
	return netmem_is_net_iov(netmem) ?
		phys_to_virt(page_pool_get_dma_addr_netmem(netmem)) :
		netmem_address(netmem);
}

static bool zcn_has_payload(const struct zcn_flow *flow, u32 len)
{
	return flow->tcp && flow->hdr_len < len;
}

/*
 * Whether the hardware splits the frame behind its TCP header. What it does not
 * split fills the header buffer first and goes on in posted buffers.
 */
static bool zcn_splits(struct zcn_rxq *q, const struct zcn_flow *flow, u32 len)
{
	struct zcn_dev *zcn = q->zcn;

	return zcn_has_payload(flow, len) && zcn->hds &&
	       len > zcn->hds_thresh &&
	       !zcn_fault_every(zcn->faults.lose_split_every, &q->tcp_frames);
}

static void zcn_count_frame(struct zcn_rxq *q, const struct zcn_flow *flow,
			    u32 len, u32 head, bool split)
{
	q->stats.packets++;
	q->stats.bytes += len;
	if (split) {
		q->stats.split++;
	} else if (zcn_has_payload(flow, len)) {
		q->stats.unsplit++;
		q->stats.unsplit_bytes += head - min(head, flow->hdr_len);
	}
}

/* Writes the frame from @off on into posted buffers. They are known to do. */
static void zcn_dma_write(struct zcn_rxq *q, struct sk_buff *dst,
			  const struct sk_buff *frame, u32 off)
{
	struct zcn_ring *ring = &q->ring;
	int frag = 0;

	while (off < frame->len) {
		netmem_ref netmem = zcn_ring_take(ring);
		u32 n = min(frame->len - off, ring->buf_len);

		skb_copy_bits(frame, off, zcn_dma_target(netmem), n);
		skb_add_rx_frag_netmem(dst, frag++, netmem, 0, n,
				       ring->buf_len);
		if (netmem_is_net_iov(netmem))
			q->stats.niov_bytes += n;
		else
			q->stats.page_bytes += n;
		off += n;
	}
}

/*
 * Frames of TCP segmentation offload cross the wire whole. For the receiver
 * they look as if its hardware had put the segments back together (HW-GRO).
 */
static void zcn_copy_gso(struct sk_buff *dst, const struct sk_buff *frame)
{
	const struct skb_shared_info *from = skb_shinfo(frame);
	struct skb_shared_info *to = skb_shinfo(dst);

	to->gso_size = from->gso_size;
	to->gso_segs = from->gso_segs;
	to->gso_type = from->gso_type &
		       (SKB_GSO_TCPV4 | SKB_GSO_TCPV6 | SKB_GSO_TCP_ECN);
}

/* Returns the completed frame, or NULL after having counted why not. */
static struct sk_buff *zcn_rxq_write(struct zcn_rxq *q, struct sk_buff *frame,
				     const struct zcn_flow *flow)
{
	struct zcn_dev *zcn = q->zcn;
	struct sk_buff *skb;
	u32 head, need;
	bool split;

	if (zcn_fault_every(zcn->faults.drop_every, &q->frames)) {
		q->stats.drop_fault++;
		return NULL;
	}
	if (skb_queue_len(&q->cq) >= ZCN_CQ_LEN) {
		q->stats.drop_cq_full++;
		return NULL;
	}

	split = zcn_splits(q, flow, frame->len);
	head = split ? flow->hdr_len : min_t(u32, frame->len, ZCN_HEAD_LEN);
	need = DIV_ROUND_UP(frame->len - head, q->ring.buf_len);
	if (need > zcn_ring_posted(&q->ring)) {
		q->stats.drop_no_buffer++;
		return NULL;
	}

	skb = netdev_alloc_skb_ip_align(zcn->netdev, head);
	if (!skb || need > MAX_SKB_FRAGS ||
	    !is_skb_forwardable(zcn->netdev, frame)) {
		q->stats.drop_other++;
		kfree_skb(skb);
		return NULL;
	}
	skb_copy_bits(frame, 0, skb_put(skb, head), head);
	/* Buffers go back to the page pool when the stack drops them. */
	skb_mark_for_recycle(skb);
	zcn_dma_write(q, skb, frame, head);
	zcn_copy_gso(skb, frame);

	/* The wire does not corrupt: checksums are found to be right. */
	skb->ip_summed = CHECKSUM_UNNECESSARY;
	if (zcn->netdev->features & NETIF_F_RXHASH)
		skb_set_hash(skb, flow->hash, flow->l4_hash ?
			     PKT_HASH_TYPE_L4 : PKT_HASH_TYPE_L3);
	zcn_count_frame(q, flow, frame->len, head, split);
	return skb;
}

/* A frame arrives. The caller keeps @frame; bottom halves are off. */
void zcn_rx_frame(struct zcn_dev *zcn, struct sk_buff *frame)
{
	struct sk_buff *skb = NULL;
	struct zcn_flow flow;
	struct zcn_rxq *q;
	int idx;

	zcn_parse(zcn, frame, &flow);
	idx = zcn_steer(zcn, &flow);
	if (idx < 0)
		return;

	q = &zcn->rxq[idx];
	spin_lock(&q->lock);
	if (q->up)
		skb = zcn_rxq_write(q, frame, &flow);
	if (skb)
		__skb_queue_tail(&q->cq, skb);
	spin_unlock(&q->lock);

	if (skb)
		napi_schedule(&q->napi);
}

/* ---- driver ---- */

/* There is room: a slot is the driver's once head is past it. */
static void zcn_post(struct zcn_ring *ring, netmem_ref netmem)
{
	ring->bufs[ring->tail & (ring->size - 1)] = netmem;
	/* The doorbell: the buffer is the hardware's from here on. */
	smp_store_release(&ring->tail, ring->tail + 1);
}

/* Posts buffers until the ring is full. False if the page pool ran dry. */
bool zcn_refill(struct zcn_rxq *q)
{
	struct zcn_ring *ring = &q->ring;
	netmem_ref netmem;

	/* Pairs with zcn_ring_take(): a slot is ours once head is past it. */
	while (ring->tail - smp_load_acquire(&ring->head) < ring->size) {
		netmem = page_pool_alloc_netmems(ring->pp,
						 GFP_ATOMIC | __GFP_NOWARN);
		if (!netmem) {
			q->stats.alloc_fail++;
			return false;
		}
		zcn_post(ring, netmem);
	}
	return true;
}

/*
 * A driver that keeps its buffers: it replaces each buffer of a frame by a new
 * one before it passes the frame on. If an allocation fails, it drops the frame
 * and posts the frame's remaining buffers again. Returns whether it passes the
 * frame on.
 */
static bool zcn_replace_buffers(struct zcn_rxq *q, struct sk_buff *skb)
{
	struct skb_shared_info *shinfo = skb_shinfo(skb);
	unsigned int i, n = shinfo->nr_frags;

	for (i = 0; i < n; i++) {
		netmem_ref fresh = page_pool_alloc_netmems(q->ring.pp,
						GFP_ATOMIC | __GFP_NOWARN);

		if (!fresh)
			break;
		zcn_post(&q->ring, fresh);
	}
	if (i == n)
		return true;
	q->stats.alloc_fail++;
	q->stats.oom_discards++;
	shinfo->nr_frags = i;
	for (; i < n; i++) {
		zcn_post(&q->ring, skb_frag_netmem(&shinfo->frags[i]));
		skb->len -= skb_frag_size(&shinfo->frags[i]);
		skb->data_len -= skb_frag_size(&shinfo->frags[i]);
		skb->truesize -= q->ring.buf_len;
	}
	dev_kfree_skb_any(skb);
	return false;
}

static struct sk_buff *zcn_cq_pop(struct zcn_rxq *q)
{
	struct sk_buff *skb;

	spin_lock(&q->lock);
	skb = __skb_dequeue(&q->cq);
	spin_unlock(&q->lock);
	return skb;
}

int zcn_poll(struct napi_struct *napi, int budget)
{
	struct zcn_rxq *q = container_of(napi, struct zcn_rxq, napi);
	struct zcn_faults *faults = &q->zcn->faults;
	unsigned int retry_ms = READ_ONCE(faults->alloc_retry_ms);
	struct sk_buff *skb;
	bool starved;
	int done = 0;

	q->stats.polls++;
	while (done < budget && (skb = zcn_cq_pop(q))) {
		done++;
		if (zcn_as->keeps_buffers && !zcn_replace_buffers(q, skb))
			continue;
		skb->protocol = eth_type_trans(skb, napi->dev);
		skb_record_rx_queue(skb, q->idx);
		napi_gro_receive(napi, skb);
	}

	/* A ring whose buffers are replaced one by one is filled only once. */
	starved = !(zcn_as->keeps_buffers && q->filled) && !zcn_refill(q) &&
		  !zcn_as->keeps_buffers &&
		  zcn_ring_posted(&q->ring) < ZCN_LOW_WATER &&
		  !READ_ONCE(faults->alloc_retry_never);
	q->filled = true;
	if (starved && !retry_ms) {
		q->stats.retries++;
		return budget;
	}
	if (done < budget && napi_complete_done(napi, done) && starved)
		mod_timer(&q->retry, jiffies + msecs_to_jiffies(retry_ms));
	return done;
}

void zcn_retry(struct timer_list *timer)
{
	struct zcn_rxq *q = timer_container_of(q, timer, retry);

	q->stats.retries++;
	napi_schedule(&q->napi);
}

/* The hardware's counters are of one moment; the driver's of about then. */
void zcn_rxq_read_stats(struct zcn_rxq *q, struct zcn_rxq_stats *stats)
{
	spin_lock_bh(&q->lock);
	*stats = q->stats;
	spin_unlock_bh(&q->lock);
}
