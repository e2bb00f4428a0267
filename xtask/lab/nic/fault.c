// SPDX-License-Identifier: GPL-2.0
/*
 * The fault knobs: /sys/kernel/debug/zcnic/zcn{0,1}/. They are in debugfs, not
 * module parameters, because each device has its own, and because debugfs can
 * be reached whatever network namespace the device has gone to.
 */
#include "zcnic.h"

/* Header split as the stack keeps it: drivers need not report it, tests want to know. */
static int zcn_hds_config_get(void *data, u64 *value)
{
	struct zcn_dev *zcn = data;

	*value = zcn->netdev->cfg->hds_config;
	return 0;
}

DEFINE_DEBUGFS_ATTRIBUTE(zcn_hds_config_fops, zcn_hds_config_get, NULL,
			 "%llu\n");

void zcn_fault_init(struct zcn_dev *zcn, struct dentry *root, const char *name)
{
	struct zcn_faults *f = &zcn->faults;
	struct dentry *dir = debugfs_create_dir(name, root);

	/*
	 * A NIC whose ring ran dry gets no interrupts, so the driver has to try
	 * again; how soon, if at all, is where drivers differ most.
	 */
	f->alloc_retry_ms = zcn_as->retry_ms;
	f->alloc_retry_never = zcn_as->retry_never;
	f->fail_queue_errno = ENOMEM;
	zcn->debugfs = dir;

	debugfs_create_file("hds_config", 0444, dir, zcn, &zcn_hds_config_fops);

	/* Every Nth TCP frame with payload on a queue is not split. 0: none. */
	debugfs_create_u32("lose_split_every", 0644, dir, &f->lose_split_every);
	/* Every Nth frame for a queue is lost. 0: none. */
	debugfs_create_u32("drop_every", 0644, dir, &f->drop_every);
	/* Pause before a dry ring is refilled again. 0: poll without pause. */
	debugfs_create_u32("alloc_retry_ms", 0644, dir, &f->alloc_retry_ms);
	/* A dry ring stays dry until something else schedules NAPI. */
	debugfs_create_bool("alloc_retry_never", 0644, dir,
			    &f->alloc_retry_never);
	/* That many queue restarts fail, before anything stopped. */
	debugfs_create_u32("fail_queue_alloc", 0644, dir, &f->fail_queue_alloc);
	/* What they fail with: drivers differ in what they say. */
	debugfs_create_u32("fail_queue_errno", 0644, dir, &f->fail_queue_errno);
	/* New pools are not open to memory providers, as if header split were off. */
	debugfs_create_bool("readable_pools", 0644, dir, &f->readable_pools);
	/* That many starts fail with EIO; the stack then starts the old memory. */
	debugfs_create_u32("fail_queue_start", 0644, dir, &f->fail_queue_start);
}

/* Whether this is an every-th one. @count belongs to one queue. */
bool zcn_fault_every(u32 every, u32 *count)
{
	if (!every)
		return false;
	return ++*count % every == 0;
}

/* Whether one of the @remaining failures falls due. Under the netdev lock. */
bool zcn_fault_next(u32 *remaining)
{
	u32 n = READ_ONCE(*remaining);

	if (!n)
		return false;
	WRITE_ONCE(*remaining, n - 1);
	return true;
}
