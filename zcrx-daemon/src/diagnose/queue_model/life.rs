//! What a millisecond brings.

use super::{CALL, Overflow, Queue};

impl Queue {
    /// Whole things out of a rate, keeping the rest for the next time.
    fn whole(&mut self, slot: usize, amount: f64) -> u64 {
        let sum = self.state.rest[slot] + amount;
        self.state.rest[slot] = sum.fract();
        sum as u64
    }

    pub(super) fn millisecond(&mut self) {
        self.state.cache += std::mem::take(&mut self.state.with_packet);
        self.state.throttled += self.throttled;
        self.state.no_cpu += self.no_cpu;
        if self.torn_down {
            self.state.torn_down_at.get_or_insert(self.state.milliseconds);
            return;
        }
        if self.interface_down {
            self.state.interface_down_at.get_or_insert(self.state.milliseconds);
        } else {
            self.state.interface_down_at = None;
            self.arrive();
        }
        let round = self.visits_every_ms;
        let enters = round == 0 || self.state.milliseconds.is_multiple_of(round);
        if enters {
            self.state.entered_at = self.state.milliseconds;
            self.receive();
            self.give_back();
        }
        if self.flushes_every_ms > 0 && self.state.milliseconds.is_multiple_of(self.flushes_every_ms) {
            self.flush();
        }
        let missteered = self.whole(0, self.missteered_per_second / 1000.0);
        *self.state.errors.entry(libc::EFAULT).or_default() += missteered;
        self.state.ledger.errors += missteered;
        // Work of other kinds is done by the owner's system calls too.
        self.state.others_due += self.whole(8, self.other_completions / 1000.0);
        let others = if enters { std::mem::take(&mut self.state.others_due) } else { 0 };
        self.state.cq_tail = self.state.cq_tail.wrapping_add(others as u32);
        self.state.others += others;
        if self.owner_runs {
            self.state.cq_head = self.state.cq_head.wrapping_add(others as u32);
        }
    }

    fn arrive(&mut self) {
        let mut arriving = self.arrivals_per_second / 1000.0;
        if let Some(bunch) = self.bursts {
            // All the packets of a while at once.
            self.state.rest[1] += arriving;
            arriving = 0.0;
            if self.state.rest[1] >= bunch as f64 {
                self.state.rest[1] -= bunch as f64;
                arriving = bunch as f64;
            }
        }
        let arriving = self.whole(2, arriving);
        let room = self.socket_limit.saturating_sub(self.state.sockets + self.state.to_copy);
        let arriving = arriving.min(room);
        let copied = self.whole(3, arriving as f64 * self.copied).min(arriving);
        self.state.to_copy += copied;
        if !self.device {
            return;
        }
        let unarmed = self.whole(9, (arriving - copied) as f64 * self.unarmed).min(arriving - copied);
        let mut unarmed_left = unarmed;
        let mut placed = arriving - copied;
        let interrupted = placed > 0 && self.state.posted > 0;
        while placed > 0 && self.state.posted > 0 {
            if self.keeps_posted && self.state.cache == 0 && !self.allocate() {
                break;
            }
            let ready = if self.keeps_posted { &mut self.state.cache } else { &mut self.state.posted };
            let batch = placed.min(*ready).min(CALL);
            *ready -= batch;
            self.state.sockets += batch;
            let unread = unarmed_left.min(batch);
            self.state.unread_unarmed += unread;
            unarmed_left -= unread;
            placed -= batch;
            self.poll();
        }
        self.state.drops += placed;
        self.state.ledger.packets_lost += placed;
        self.state.ledger.losing_ms += u64::from(placed > 0);
        if !interrupted && self.state.posted < self.ring && self.state.allocation.starving_since.is_some() {
            self.poll();
        }
    }

    /// The owner asks the kernel to consume the refill ring (`FLUSH_RQ`).
    fn flush(&mut self) {
        let state = &mut self.state;
        let consumed = state.pending + state.pending_bad;
        state.cached_head = state.cached_head.wrapping_add(consumed as u32);
        state.user -= state.pending;
        state.by_copy = state.by_copy.min(state.user);
        state.free += state.pending;
        (state.pending, state.pending_bad) = (0, 0);
    }

    fn poll(&mut self) {
        if !self.state.napi_dead {
            self.state.polls += 1;
            self.refill();
        }
    }

    /// NAPI tops up the receive ring.
    pub(super) fn refill(&mut self) {
        while self.device && self.state.posted + self.step <= self.ring {
            if self.state.cache < self.step && !self.allocate() {
                // A driver that does not come back by itself only ever does so once its ring has run dry.
                self.state.napi_dead = !self.napi_restarts && self.state.posted == 0;
                return;
            }
            let moved = self.state.cache.min(self.ring - self.state.posted) / self.step * self.step;
            self.state.cache -= moved;
            self.state.posted += moved;
        }
    }

    /// The provider's allocation function.
    fn allocate(&mut self) -> bool {
        let waiting = self.state.pending + self.state.pending_bad;
        let allocatable = self.state.free + waiting;
        let marks = &mut self.state.marks;
        marks.0 = Some(marks.0.map_or(allocatable, |least| least.min(allocatable)));
        marks.1 = marks.1.max(waiting);
        let consumed = waiting.min(CALL);
        // Bad entries lie evenly among the good ones.
        let bad = (consumed * self.state.pending_bad)
            .checked_div(waiting)
            .unwrap_or(0)
            .max(consumed.saturating_sub(self.state.pending));
        self.state.pending_bad -= bad;
        self.state.pending -= consumed - bad;
        self.state.cached_head = self.state.cached_head.wrapping_add(consumed as u32);
        let whole = self.released(consumed - bad);
        let to_freelist =
            (whole * self.state.by_copy).checked_div(self.state.user).unwrap_or(0).min(self.state.by_copy);
        self.state.user -= whole;
        self.state.by_copy -= to_freelist;
        self.state.free += to_freelist;
        let late = self.whole(10, (whole - to_freelist) as f64 * self.late).min(whole - to_freelist);
        self.state.with_packet += late;
        let mut yielded = whole - to_freelist - late;
        let mut from_freelist = 0;
        if yielded == 0 {
            from_freelist = self.state.free.min(CALL);
            self.state.free -= from_freelist;
            yielded = from_freelist;
        }
        self.state.cache += yielded;
        let now = self.now();
        let count = &mut self.state.allocation;
        if let (Some(since), true) = (count.starving_since, yielded > 0) {
            count.starved += now.saturating_sub(since);
            self.state.marks.2 = self.state.marks.2.max(now.saturating_sub(since));
        }
        count.starvations += u64::from(count.starving_since.is_none() && yielded == 0);
        count.fullest = count.fullest.max(waiting as u32);
        count.calls += 1;
        count.consumed += consumed;
        count.buffers += yielded;
        count.from_freelist += from_freelist;
        if yielded > 0 {
            count.last_success = Some(now);
            count.starving_since = None;
        } else {
            count.failures += 1;
            count.starving_since.get_or_insert(now);
        }
        yielded > 0
    }

    /// How many buffers come free when so many references are dropped.
    fn released(&mut self, references: u64) -> u64 {
        if self.fragments == 1 {
            return references;
        }
        self.state.unpinned += references;
        // Far apart, all but the last reference of every buffer that is out go before the first buffer comes free.
        let whole = if self.pinning {
            let pinned = self.state.user * (self.fragments - 1);
            references.min(self.state.unpinned.saturating_sub(pinned))
        } else {
            self.state.unpinned / self.fragments
        };
        self.state.unpinned -= whole * self.fragments;
        whole
    }

    /// The owner's receives make completions of what is in the sockets.
    fn receive(&mut self) {
        if self.paused() {
            return;
        }
        if !self.armed {
            self.state.unread_unarmed = self.state.sockets;
            return;
        }
        if !self.owner_runs && (self.state.completed > 0 || self.run_state.is_some()) {
            return;
        }
        let room = (self.cq_entries - self.state.completed) / self.fragments;
        let armed = self.state.sockets - self.state.unread_unarmed.min(self.state.sockets);
        let moved = armed.min(room);
        if moved < armed {
            self.state.ledger.errors += 1;
            *self.state.errors.entry(libc::ENOSPC).or_default() += 1;
            self.armed = self.rearms;
        }
        self.state.sockets -= moved;
        let copies = self.state.to_copy.min(self.state.free);
        if copies < self.state.to_copy {
            self.state.ledger.errors += 1;
            *self.state.errors.entry(libc::ENOMEM).or_default() += 1;
        }
        self.state.to_copy -= copies;
        self.state.free -= copies;
        self.state.by_copy += copies;
        self.state.copies.calls += copies;
        self.state.copies.bytes += copies * self.packet_bytes;
        self.state.user += moved + copies;
        let completions = moved * self.fragments + copies;
        self.state.completed += completions;
        self.state.cq_tail = self.state.cq_tail.wrapping_add(completions as u32);
        self.state.bytes += (moved + copies) * self.packet_bytes;
        if !self.owner_runs {
            // It made these completions in its last system call, and did not live to read them.
            return;
        }
        let mut read = self.state.completed;
        if self.reads_per_second > 0.0 {
            read = self.whole(11, self.reads_per_second / 1000.0).min(read);
        }
        self.state.completed -= read;
        self.state.cq_head = self.state.cq_tail.wrapping_sub(self.state.completed as u32);
        self.state.held += read;
        if self.hold_ms > 0 && read > 0 {
            self.state.holding.push_back((self.state.milliseconds + self.hold_ms, read));
        }
    }

    /// The owner returns what it is done with.
    fn give_back(&mut self) {
        if !self.owner_runs {
            return;
        }
        let able = self.whole(4, (self.returns_per_second / 1000.0).min(1e9));
        let mut done = self.state.held.saturating_sub(self.keeps).min(able);
        if self.hold_ms > 0 {
            while let Some(&(until, buffers)) = self.state.holding.front() {
                if until > self.state.milliseconds {
                    break;
                }
                self.state.ripe += buffers;
                self.state.holding.pop_front();
            }
            done = done.min(self.state.ripe);
        }
        if self.return_batch > 1 {
            done = done / self.return_batch * self.return_batch;
        }
        done = self.taken_by_sink(done);
        self.state.held -= done;
        self.state.ripe = self.state.ripe.saturating_sub(done);
        let mut lost = self.whole(5, done as f64 * self.leak).min(done);
        let (every, at_once) = self.leaks_at_once;
        if every > 0 && self.state.milliseconds.is_multiple_of(every) {
            lost = (lost + at_once).min(done);
        }
        self.state.lost += lost;
        self.state.ledger.leaked += lost;
        let returning = done - lost + std::mem::take(&mut self.state.stashed);
        let room = self.refill_entries - self.state.pending - self.state.pending_bad;
        let published = returning.min(room);
        match self.overflow {
            Overflow::Stash => self.state.stashed = returning - published,
            Overflow::Drop => {
                self.state.lost += returning - published;
                self.state.ledger.dropped_returns += returning - published;
            }
        }
        let bad = self.whole(6, published as f64 * self.bad_entries).min(published);
        let double = self.whole(7, published as f64 * self.double_entries).min(room - published);
        self.state.lost += bad;
        self.state.ledger.bad += bad;
        self.state.pending += published - bad;
        self.state.pending_bad += bad + double;
        self.state.ledger.returned += published + double;
        self.state.tail = self.state.tail.wrapping_add((published + double) as u32);
    }
}
