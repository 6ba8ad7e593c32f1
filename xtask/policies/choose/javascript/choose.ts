// The first certificate for the server name that the client can use, else no opinion.

import { answer, certificates, pass, type Select } from "handfast-policy";

export const select: Select = (_, hello) => {
    const name = hello.serverName;
    if (name === undefined) return pass();
    const usable = certificates.find(name).find((certificate) => certificate.usableBy(hello));
    return usable === undefined ? pass() : answer(usable);
};
