/* SPDX-License-Identifier: GPL-2.0 */
/*
 * zcnic - a pair of software Ethernet devices joined by a wire, whose receive
 * queues can host page pool memory providers (io_uring zcrx, devmem TCP).
 *
 * The words follow the hardware: a queue has a ring of posted buffers, which
 * the driver fills and the hardware empties, and a completion queue, which the
 * hardware fills and the driver's NAPI poll empties.
 */
#ifndef ZCNIC_H
#define ZCNIC_H

#include <linux/debugfs.h>
#include <linux/ethtool.h>
#include <linux/netdevice.h>
#include <linux/platform_device.h>
#include <linux/spinlock.h>
#include <linux/timer.h>
#include <linux/version.h>
#include <net/flow_dissector.h>
#include <net/netdev_queues.h>
#include <net/netmem.h>
#include <net/page_pool/types.h>

#if LINUX_VERSION_CODE < KERNEL_VERSION(7, 2, 0)
#error "zcnic needs the queue configuration API of Linux 7.2"
#endif

#define ZCN_MAX_QUEUES		32
#define ZCN_RING_MIN		32
#define ZCN_RING_MAX		4096
/* Frames that wait for NAPI; beyond it the hardware drops them. */
#define ZCN_CQ_LEN		1024
/* Size of the buffer for headers, and for the start of an unsplit frame. */
#define ZCN_HEAD_LEN		2048
#define ZCN_HDS_THRESH_MAX	(ZCN_HEAD_LEN - 1)
#define ZCN_MAX_MTU		9000
#define ZCN_MAX_RX_PAGE_SIZE	SZ_64K
/* Below this many posted buffers a failed refill is worth a retry. */
#define ZCN_LOW_WATER		32
#define ZCN_INDIR_MAX		512
#define ZCN_RSS_KEY_MAX		52
#define ZCN_MAX_RULES		64
/* RSS contexts, the default one included. */
#define ZCN_MAX_CONTEXTS	8

/* What ETHTOOL_A_RINGS_TCP_DATA_SPLIT says: drivers differ. */
enum zcn_split_report {
	ZCN_SPLIT_IN_FORCE,	/* what the hardware does */
	ZCN_SPLIT_CONFIGURED,	/* what was asked for, as the stack keeps it */
	ZCN_SPLIT_AGGREGATION,	/* on whenever aggregation rings are in use */
};

/* Which channel counts are accepted. */
enum zcn_channel_kind {
	ZCN_CHANNELS_FIXED,
	ZCN_CHANNELS_COMBINED,
	ZCN_CHANNELS_EITHER,	/* combined, or rx and tx, never both */
	ZCN_CHANNELS_ASYMMETRIC,	/* combined, and rx or tx beyond it */
};

/* A driver's own name for a counter; "%u" stands for the queue. */
struct zcn_stat_name {
	const char *name;
	size_t offset;		/* in struct zcn_rxq_stats */
	bool per_queue;		/* otherwise the sum of all queues */
};

/*
 * How another driver answers and behaves, as far as zcrx meets it. One file per
 * driver, which names the functions that it imitates.
 */
struct zcn_personality {
	const char *name;
	const char *driver;	/* as in ethtool -i */

	/* header/data split */
	enum zcn_split_report split_report;
	bool split_off_refused;
	bool split_needs_gro_hw;
	bool has_hds_thresh;
	u32 hds_thresh_max;
	u32 hds_thresh;		/* at load, as reported */

	/* features */
	bool has_gro_hw;
	bool gro_hw;		/* at load */

	/* channels */
	enum zcn_channel_kind channels;
	u32 other_channels;
	bool rules_fix_channels;

	/* RSS */
	u32 indir_len;
	u32 key_len;
	u32 input_xfrm;		/* RXH_XFRM_*, 0: none */
	bool no_change_sets_xfrm;
	bool has_contexts;

	/* flow rules */
	u32 max_rules;
	bool places_rules;	/* RX_CLS_LOC_SPECIAL is set */
	bool any_place_only;
	bool low_places_first;

	/* queue management */
	bool no_queue_management;
	u32 fixed_queues;	/* the first so many queues cannot restart */

	/* starvation */
	bool keeps_buffers;	/* a frame is dropped unless its buffers can be replaced */
	bool retry_never;
	u32 retry_ms;

	/* counters */
	bool has_hw_drops;
	bool counters_restart;	/* at open, per queue */
	const struct zcn_stat_name *stats;
	unsigned int num_stats;
};

extern const struct zcn_personality zcn_plain;
extern const struct zcn_personality zcn_bnxt;
extern const struct zcn_personality zcn_mlx5;
extern const struct zcn_personality zcn_ice;
/* Chosen at load, one for both ends. */
extern const struct zcn_personality *zcn_as;

/*
 * The ring of posted buffers. The driver writes at @tail, the hardware reads at
 * @head; both run freely, and the difference is what is posted. This struct is
 * also what the queue management ops move about as a queue's memory.
 */
struct zcn_ring {
	struct page_pool *pp;
	netmem_ref *bufs;
	u32 size;	/* a power of two */
	u32 buf_len;	/* bytes per buffer */
	u32 head;
	u32 tail;
};

/* One writer each, in the order in which a frame meets them. */
struct zcn_rxq_stats {
	/* hardware, under zcn_rxq.lock */
	u64 packets;
	u64 bytes;		/* of whole frames */
	u64 split;		/* frames whose headers were split off */
	u64 unsplit;		/* TCP frames with payload that were not split */
	u64 unsplit_bytes;	/* TCP payload that landed beside the headers */
	u64 niov_bytes;		/* written to a memory provider's buffers */
	u64 page_bytes;		/* written to ordinary pages */
	u64 drop_no_buffer;	/* fewer buffers posted than the frame needs */
	u64 drop_cq_full;
	u64 drop_other;		/* too long, or no memory for the headers */
	u64 drop_fault;		/* the drop_every knob */
	/* driver, in softirq context */
	u64 alloc_fail;		/* the page pool had no buffer */
	u64 oom_discards;	/* frames dropped because no buffer could replace theirs */
	u64 polls;
	u64 retries;		/* polls begun by the retry after alloc_fail */
	u64 starts;		/* times the queue was started */
};

struct zcn_rxq {
	struct zcn_dev *zcn;
	unsigned int idx;
	struct napi_struct napi;
	struct timer_list retry;
	struct zcn_ring ring;
	struct sk_buff_head cq;
	bool running;		/* NAPI is enabled; under the netdev lock */

	/* The hardware's side: serialises the senders on the other end. */
	spinlock_t lock;
	bool up;
	u32 frames;		/* counted for the *_every knobs */
	u32 tcp_frames;
	struct zcn_rxq_stats stats;
	/* What qstats leave out: counted before the last open, if that restarts them. */
	struct zcn_rxq_stats before;
	bool filled;		/* the ring was filled once since the start */
};

/* What the hardware's parser knows of a frame. */
struct zcn_flow {
	struct flow_keys keys;
	bool tcp;
	u32 hdr_len;	/* up to the end of the TCP header; 0 if not TCP */
	u32 hash;	/* Toeplitz; 0 if not IP */
	bool l4_hash;
};

struct zcn_rule {
	bool used;
	u32 context;		/* of a FLOW_RSS rule */
	struct ethtool_rx_flow_spec fs;
};

/* The fault knobs; fault.c says what each does. */
struct zcn_faults {
	u32 lose_split_every;
	u32 drop_every;
	u32 alloc_retry_ms;
	bool alloc_retry_never;
	u32 fail_queue_alloc;
	u32 fail_queue_errno;
	bool readable_pools;
	u32 fail_queue_start;
};

struct zcn_dev {
	struct net_device *netdev;
	struct net_device __rcu *peer;
	struct platform_device *pdev;
	struct dentry *debugfs;
	struct zcn_faults faults;
	struct zcn_rxq *rxq;
	unsigned int num_queues;	/* allocated at load */
	/* In use; under the netdev lock. */
	unsigned int num_rx;
	unsigned int num_tx;
	bool separate;		/* rx and tx channels instead of combined ones */

	/* What the hardware does now; dev->cfg holds what was asked for. */
	u32 ring_size;
	u32 hds_thresh;
	bool hds;

	/* Guards all below: senders read it, ethtool writes it. */
	spinlock_t steer_lock;
	u8 rss_key[ZCN_RSS_KEY_MAX];
	u8 input_xfrm;
	/* By RSS context; 0 is the default one. */
	u32 indir[ZCN_MAX_CONTEXTS][ZCN_INDIR_MAX];
	struct zcn_rule rules[ZCN_MAX_RULES];
};

/* queue.c: the memory of a queue, its start and stop */
extern const struct netdev_queue_mgmt_ops zcn_queue_mgmt_ops;
int zcn_queues_start(struct zcn_dev *zcn);
void zcn_queues_stop(struct zcn_dev *zcn);
int zcn_reopen(struct zcn_dev *zcn);

/* rx.c: the receive path, hardware half and driver half */
void zcn_rx_frame(struct zcn_dev *zcn, struct sk_buff *skb);
bool zcn_refill(struct zcn_rxq *q);
u32 zcn_ring_posted(const struct zcn_ring *ring);
netmem_ref zcn_ring_take(struct zcn_ring *ring);
int zcn_poll(struct napi_struct *napi, int budget);
void zcn_retry(struct timer_list *timer);
void zcn_rxq_read_stats(struct zcn_rxq *q, struct zcn_rxq_stats *stats);

/* steer.c: which queue a frame belongs to */
void zcn_steer_init(struct zcn_dev *zcn);
void zcn_parse(struct zcn_dev *zcn, struct sk_buff *skb, struct zcn_flow *flow);
int zcn_steer(struct zcn_dev *zcn, const struct zcn_flow *flow);
void zcn_default_indir(struct zcn_dev *zcn, u32 *indir);
int zcn_rule_insert(struct zcn_dev *zcn, struct ethtool_rxnfc *cmd);
int zcn_rule_delete(struct zcn_dev *zcn, u32 location);

/* ethtool.c */
extern struct ethtool_ops zcn_ethtool_ops;
void zcn_ethtool_init(void);

/* channels.c */
void zcn_get_channels(struct net_device *dev, struct ethtool_channels *channels);
int zcn_set_channels(struct net_device *dev, struct ethtool_channels *channels);

/* fault.c */
void zcn_fault_init(struct zcn_dev *zcn, struct dentry *root, const char *name);
bool zcn_fault_every(u32 every, u32 *count);
bool zcn_fault_next(u32 *remaining);

#endif
