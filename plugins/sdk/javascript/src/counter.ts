/** Metrics. A component that uses this must be granted it: `grants = ["counter"]`. */

import * as wit from "handfast:policy/counter@1.0.0";

/** Adds to `handfast_policy_counter_total{policy, name}`. A policy has at most 64 names, of `[a-z0-9_]`. */
export function add(name: string, delta = 1): void {
    wit.add(name, delta);
}
