// An example policy in TypeScript: each tenant's names are answered with that tenant's certificates, and with no others.
//
//     config = { tenants = { acme = ["*.acme.example", "acme.example"], globex = ["shop.example"] } }
//
// A certificate belongs to a tenant when its source tagged it, `tags = { tenant = "acme" }`: one folder for each tenant, which
// the tenant's own tools may write to. Whatever they put there, a certificate for somebody else's name is never served for
// it. Names of no tenant are left to the next policy.

import { answer, certificates, log, pass, reject, type Configure, type Select } from "handfast-policy";

/** Of exact names, and of the names that a wildcard stands for without its label. */
const exact: Record<string, string> = Object.create(null);
const wildcard: Record<string, string> = Object.create(null);

export const configure: Configure = (config) => {
    for (const [key, value] of Object.entries(config)) {
        if (key !== "tenants" || typeof value !== "object" || value === null) {
            throw new Error(`unknown setting ${key}: the policy has \`tenants\`, a table of lists of names`);
        }
        for (const [tenant, names] of Object.entries(value)) {
            if (!Array.isArray(names)) throw new Error(`tenants.${tenant} is not a list of names`);
            for (const name of names) add(tenant, String(name).toLowerCase());
        }
    }
};

function add(tenant: string, name: string): void {
    const [map, key] = name.startsWith("*.") ? [wildcard, name.slice(2)] : [exact, name];
    const other = map[key];
    if (other !== undefined && other !== tenant) throw new Error(`${name} is ${other}'s and ${tenant}'s`);
    map[key] = tenant;
}

export const select: Select = (connection, hello) => {
    const name = hello.serverName;
    if (name === undefined) return pass();
    // A wildcard covers one label (RFC 6125 section 6.4.3).
    const parent = name.slice(name.indexOf(".") + 1);
    const tenant = exact[name] ?? wildcard[parent];
    if (tenant === undefined) return pass();

    const own = certificates.find(name).filter((certificate) => certificate.tag("tenant") === tenant);
    const usable = own.find((certificate) => certificate.usableBy(hello));
    if (usable !== undefined) return answer(usable, `tenant ${tenant}`);

    log.warn(`${tenant} has no certificate for ${name} that ${connection.clientAddress.ip} can use`);
    return reject("unrecognized-name", `tenant ${tenant} has no usable certificate`);
};
