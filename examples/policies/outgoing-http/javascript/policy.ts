// An example policy in TypeScript: an endpoint says which tenant a server name belongs to, and its certificate is the answer.
//
//     grants = [{ http = ["keys.example.com"] }]
//     config = { endpoint = "https://keys.example.com" }
//
// Asks `GET <endpoint>/tenant/<server name>`. 200 is the tenant's name, and a certificate belongs to a tenant when its source
// tagged it, `tags = { tenant = "acme" }`. Whoever is nobody's, and everybody while there is no answer, is turned away.

import { answer, certificates, reject, type Configure, type Select } from "handfast-policy";
import * as http from "handfast-policy/http";

let endpoint = "";

export const configure: Configure = (config) => {
    if (typeof config.endpoint !== "string" || !/^https?:\/\//.test(config.endpoint)) throw new Error("endpoint is not a URL");
    endpoint = config.endpoint;
};

export const select: Select = (connection, hello) => {
    let response: http.Response;
    try {
        response = http.get(`${endpoint}/tenant/${hello.serverName ?? ""}`);
    } catch (error) {
        if (!(error instanceof http.HttpError)) throw error;
        return reject("unrecognized-name", error.kind.replace("-", " "));
    }
    const said = `${response.status}, ${response.body.length} bytes`;
    if (response.status !== 200) return reject("unrecognized-name", said);
    const [own] = certificates.tagged("tenant", response.text());
    return own === undefined ? reject("access-denied", said) : answer(own, said);
};
