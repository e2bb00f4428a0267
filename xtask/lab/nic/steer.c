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
	for (i = 0; i < ZCN_MAX_CONTEXTS; i++)
		zcn_default_indir(zcn, zcn->indir[i]);
}

void zcn_default_indir(struct zcn_dev *zcn, u32 *indir)
{
	unsigned int i;

	for (i = 0; i < zcn_as->indir_len; i++)
		indir[i] = ethtool_rxfh_indir_default(i, zcn->num_rx);
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
		u8 next = i + 4 < zcn_as->key_len ? key[i + 4] : 0;

		for (bit = 7; bit >= 0; bit--) {
			if (data[i] & BIT(bit))
				hash ^= window;
			window = window << 1 | (next >> bit & 1);
		}
	}
	return hash;
}

/*
 * Symmetric hashing: the input's halves are replaced by their XOR, the second
 * one by their OR with RXH_XFRM_SYM_OR_XOR.
 */
static void zcn_symmetric(u8 xfrm, u8 *a, u8 *b, unsigned int len)
{
	unsigned int i;

	for (i = 0; i < len; i++) {
		u8 x = a[i] ^ b[i], o = a[i] | b[i];

		a[i] = x;
		b[i] = xfrm == RXH_XFRM_SYM_OR_XOR ? o : x;
	}
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
	if (zcn->input_xfrm) {
		unsigned int half = (len - (flow->l4_hash ? 4 : 0)) / 2;

		zcn_symmetric(zcn->input_xfrm, input, input + half, half);
		if (flow->l4_hash)
			zcn_symmetric(zcn->input_xfrm, input + 2 * half,
				      input + 2 * half + 2, 2);
	}
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
	u32 type = fs->flow_type & ~FLOW_RSS;
	bool tcp = type == TCP_V4_FLOW || type == TCP_V6_FLOW;

	if (keys->basic.ip_proto != (tcp ? IPPROTO_TCP : IPPROTO_UDP))
		return false;

	switch (type) {
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
	queue = zcn->indir[0][flow->hash % zcn_as->indir_len];
	if (!(zcn->netdev->features & NETIF_F_NTUPLE) || !flow->l4_hash)
		goto out;
	for (i = 0; i < zcn_as->max_rules; i++) {
		const struct zcn_rule *rule = &zcn->rules[i];

		if (rule->used && zcn_rule_matches(&rule->fs, &flow->keys)) {
			queue = rule->fs.ring_cookie == RX_CLS_FLOW_DISC ?
				-1 : rule->fs.ring_cookie;
			if (queue >= 0 && rule->fs.flow_type & FLOW_RSS)
				queue += zcn->indir[rule->context]
					[flow->hash % zcn_as->indir_len];
			break;
		}
	}
out:
	spin_unlock_bh(&zcn->steer_lock);
	/* The sum of a context's and a rule's queue may be a queue that is not in use. */
	return queue < (int)zcn->num_rx ? queue : 0;
}

static int zcn_rule_check(struct zcn_dev *zcn, const struct ethtool_rxnfc *cmd)
{
	const struct ethtool_rx_flow_spec *fs = &cmd->fs;
	bool spreads = fs->flow_type & FLOW_RSS;

	if (!(zcn->netdev->features & NETIF_F_NTUPLE))
		return -EOPNOTSUPP;
	if (fs->ring_cookie != RX_CLS_FLOW_DISC && !spreads &&
	    fs->ring_cookie >= zcn->num_rx)
		return -EINVAL;
	if (spreads && (!zcn_as->has_contexts || fs->ring_cookie ||
			cmd->rss_context >= ZCN_MAX_CONTEXTS))
		return -EINVAL;

	switch (fs->flow_type & ~FLOW_RSS) {
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

/* The first free place from the personality's end of the table, or -ENOSPC. */
static int zcn_free_place(struct zcn_dev *zcn)
{
	u32 i, at;

	for (i = 0; i < zcn_as->max_rules; i++) {
		at = zcn_as->low_places_first ? i : zcn_as->max_rules - 1 - i;
		if (!zcn->rules[at].used)
			return at;
	}
	return -ENOSPC;
}

/*
 * Takes over a rule at fs->location; where a driver chooses the place, it is
 * written back. The NIC's own way is the last free one, so that rules for which
 * a place was asked, and which usually are more specific, come first.
 */
int zcn_rule_insert(struct zcn_dev *zcn, struct ethtool_rxnfc *cmd)
{
	struct ethtool_rx_flow_spec *fs = &cmd->fs;
	int err = zcn_rule_check(zcn, cmd);
	int place = fs->location;

	if (err)
		return err;
	if (fs->location != RX_CLS_LOC_ANY && zcn_as->any_place_only)
		return -EINVAL;

	spin_lock_bh(&zcn->steer_lock);
	if (fs->location == RX_CLS_LOC_ANY)
		place = zcn_as->places_rules ? zcn_free_place(zcn) : -ENOSPC;
	else if (fs->location >= zcn_as->max_rules)
		place = zcn_as->places_rules ? -EINVAL : -ENOSPC;
	if (place >= 0) {
		fs->location = place;
		zcn->rules[place].fs = *fs;
		zcn->rules[place].context = cmd->rss_context;
		zcn->rules[place].used = true;
	}
	spin_unlock_bh(&zcn->steer_lock);
	return min(place, 0);
}

int zcn_rule_delete(struct zcn_dev *zcn, u32 location)
{
	int err = 0;

	if (location >= zcn_as->max_rules)
		return -EINVAL;

	spin_lock_bh(&zcn->steer_lock);
	if (zcn->rules[location].used)
		zcn->rules[location].used = false;
	else
		err = -ENOENT;
	spin_unlock_bh(&zcn->steer_lock);
	return err;
}
