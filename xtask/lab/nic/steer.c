// SPDX-License-Identifier: GPL-2.0
/*
 * Which queue a frame belongs to: the first flow rule that matches decides,
 * else receive side scaling does. It is the receiving device that looks.
 */
#include <linux/skbuff.h>
#include <linux/tcp.h>
#include <linux/unaligned.h>

#include "zcnic.h"

void zcn_steer_init(struct zcn_dev *zcn)
{
	unsigned int i;

	spin_lock_init(&zcn->steer_lock);
	netdev_rss_key_fill(zcn->rss_key, sizeof(zcn->rss_key));
	for (i = 0; i < ZCN_INDIR_LEN; i++)
		zcn->indir[i] = ethtool_rxfh_indir_default(i, zcn->num_queues);
}

/*
 * Toeplitz: for every bit set in the input, from the left, the 32 bits of the
 * key that begin at the bit's position go into the result.
 */
static u32 zcn_toeplitz(const u8 *key, const u8 *data, unsigned int len)
{
	u32 window = get_unaligned_be32(key);
	u32 hash = 0;
	unsigned int i;
	int bit;

	for (i = 0; i < len; i++) {
		u8 next = i + 4 < ZCN_RSS_KEY_LEN ? key[i + 4] : 0;

		for (bit = 7; bit >= 0; bit--) {
			if (data[i] & BIT(bit))
				hash ^= window;
			window = window << 1 | (next >> bit & 1);
		}
	}
	return hash;
}

/* Addresses, then ports, in network order: at most 36 bytes for the key's 40. */
static void zcn_hash(struct zcn_dev *zcn, struct zcn_flow *flow)
{
	const struct flow_keys *keys = &flow->keys;
	unsigned int len;
	u8 input[36];

	flow->hash = 0;
	switch (keys->control.addr_type) {
	case FLOW_DISSECTOR_KEY_IPV4_ADDRS:
		len = sizeof(keys->addrs.v4addrs);
		memcpy(input, &keys->addrs.v4addrs, len);
		break;
	case FLOW_DISSECTOR_KEY_IPV6_ADDRS:
		len = sizeof(keys->addrs.v6addrs);
		memcpy(input, &keys->addrs.v6addrs, len);
		break;
	default:
		return;
	}
	if (flow->l4_hash) {
		memcpy(input + len, &keys->ports.ports, 4);
		len += 4;
	}
	spin_lock_bh(&zcn->steer_lock);
	flow->hash = zcn_toeplitz(zcn->rss_key, input, len);
	spin_unlock_bh(&zcn->steer_lock);
}

void zcn_parse(struct zcn_dev *zcn, struct sk_buff *skb, struct zcn_flow *flow)
{
	struct flow_keys *keys = &flow->keys;
	const struct tcphdr *th;
	struct tcphdr _th;
	u8 proto;

	memset(flow, 0, sizeof(*flow));
	if (!skb_flow_dissect_flow_keys(skb, keys,
					FLOW_DISSECTOR_F_STOP_AT_ENCAP))
		return;

	proto = keys->basic.ip_proto;
	if (!(keys->control.flags & FLOW_DIS_IS_FRAGMENT) &&
	    (proto == IPPROTO_TCP || proto == IPPROTO_UDP)) {
		flow->l4_hash = true;
		if (proto == IPPROTO_TCP) {
			th = skb_header_pointer(skb, keys->control.thoff,
						sizeof(_th), &_th);
			flow->tcp = th && th->doff >= sizeof(_th) / 4;
			if (flow->tcp)
				flow->hdr_len = keys->control.thoff +
						th->doff * 4;
		}
	}
	zcn_hash(zcn, flow);
}

/* Whether @value agrees with the rule wherever the rule's mask has a bit. */
static bool zcn_masked_eq(const void *value, const void *want, const void *mask,
			  size_t len)
{
	const u8 *v = value, *w = want, *m = mask;
	size_t i;

	for (i = 0; i < len; i++)
		if ((v[i] ^ w[i]) & m[i])
			return false;
	return true;
}

#define zcn_field_eq(value, spec, mask, field)				\
	zcn_masked_eq(&(value), &(spec)->field, &(mask)->field,		\
		      sizeof((spec)->field))

static bool zcn_rule_matches(const struct ethtool_rx_flow_spec *fs,
			     const struct flow_keys *keys)
{
	const struct ethtool_tcpip4_spec *v4 = &fs->h_u.tcp_ip4_spec;
	const struct ethtool_tcpip4_spec *m4 = &fs->m_u.tcp_ip4_spec;
	const struct ethtool_tcpip6_spec *v6 = &fs->h_u.tcp_ip6_spec;
	const struct ethtool_tcpip6_spec *m6 = &fs->m_u.tcp_ip6_spec;
	bool tcp = fs->flow_type == TCP_V4_FLOW || fs->flow_type == TCP_V6_FLOW;

	if (keys->basic.ip_proto != (tcp ? IPPROTO_TCP : IPPROTO_UDP))
		return false;

	switch (fs->flow_type) {
	case TCP_V4_FLOW:
	case UDP_V4_FLOW:
		return keys->control.addr_type ==
				FLOW_DISSECTOR_KEY_IPV4_ADDRS &&
		       zcn_field_eq(keys->addrs.v4addrs.src, v4, m4, ip4src) &&
		       zcn_field_eq(keys->addrs.v4addrs.dst, v4, m4, ip4dst) &&
		       zcn_field_eq(keys->ports.src, v4, m4, psrc) &&
		       zcn_field_eq(keys->ports.dst, v4, m4, pdst);
	default:
		return keys->control.addr_type ==
				FLOW_DISSECTOR_KEY_IPV6_ADDRS &&
		       zcn_field_eq(keys->addrs.v6addrs.src, v6, m6, ip6src) &&
		       zcn_field_eq(keys->addrs.v6addrs.dst, v6, m6, ip6dst) &&
		       zcn_field_eq(keys->ports.src, v6, m6, psrc) &&
		       zcn_field_eq(keys->ports.dst, v6, m6, pdst);
	}
}

/* The queue's index, or -1 if a rule says to discard. */
int zcn_steer(struct zcn_dev *zcn, const struct zcn_flow *flow)
{
	unsigned int i;
	int queue;

	spin_lock_bh(&zcn->steer_lock);
	queue = zcn->indir[flow->hash % ZCN_INDIR_LEN];
	if (!(zcn->netdev->features & NETIF_F_NTUPLE) || !flow->l4_hash)
		goto out;
	for (i = 0; i < ZCN_MAX_RULES; i++) {
		const struct zcn_rule *rule = &zcn->rules[i];

		if (rule->used && zcn_rule_matches(&rule->fs, &flow->keys)) {
			queue = rule->fs.ring_cookie == RX_CLS_FLOW_DISC ?
				-1 : rule->fs.ring_cookie;
			break;
		}
	}
out:
	spin_unlock_bh(&zcn->steer_lock);
	return queue;
}

static int zcn_rule_check(struct zcn_dev *zcn,
			  const struct ethtool_rx_flow_spec *fs)
{
	if (!(zcn->netdev->features & NETIF_F_NTUPLE))
		return -EOPNOTSUPP;
	if (fs->ring_cookie != RX_CLS_FLOW_DISC &&
	    fs->ring_cookie >= zcn->num_queues)
		return -EINVAL;

	switch (fs->flow_type) {
	case TCP_V4_FLOW:
	case UDP_V4_FLOW:
		return fs->m_u.tcp_ip4_spec.tos ? -EOPNOTSUPP : 0;
	case TCP_V6_FLOW:
	case UDP_V6_FLOW:
		return fs->m_u.tcp_ip6_spec.tclass ? -EOPNOTSUPP : 0;
	default:
		return -EOPNOTSUPP;
	}
}

/*
 * Takes over a rule at fs->location. With RX_CLS_LOC_ANY that is the last free
 * one, so that rules for which a place was asked, and which usually are more
 * specific, come first; the place is written back.
 */
int zcn_rule_insert(struct zcn_dev *zcn, struct ethtool_rx_flow_spec *fs)
{
	int err = zcn_rule_check(zcn, fs);

	if (err)
		return err;

	spin_lock_bh(&zcn->steer_lock);
	if (fs->location == RX_CLS_LOC_ANY) {
		u32 i = ZCN_MAX_RULES;

		while (i && zcn->rules[i - 1].used)
			i--;
		if (!i)
			err = -ENOSPC;
		else
			fs->location = i - 1;
	} else if (fs->location >= ZCN_MAX_RULES) {
		err = -EINVAL;
	}
	if (!err) {
		zcn->rules[fs->location].fs = *fs;
		zcn->rules[fs->location].used = true;
	}
	spin_unlock_bh(&zcn->steer_lock);
	return err;
}

int zcn_rule_delete(struct zcn_dev *zcn, u32 location)
{
	int err = 0;

	if (location >= ZCN_MAX_RULES)
		return -EINVAL;

	spin_lock_bh(&zcn->steer_lock);
	if (zcn->rules[location].used)
		zcn->rules[location].used = false;
	else
		err = -ENOENT;
	spin_unlock_bh(&zcn->steer_lock);
	return err;
}
