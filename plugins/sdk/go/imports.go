package handfast

// The interface's functions as the canonical ABI has them: a handle for a resource, pointer and length for a string, and a
// place for a result that is not one number. The linker leaves out what a policy does not reach.

//go:wasmimport handfast:policy/types@1.0.0 [method]connection.listener
func connectionListener(handle int32, to *[4]uint64)

//go:wasmimport handfast:policy/types@1.0.0 [method]connection.client-address
func connectionClientAddress(handle int32, to *[4]uint64)

//go:wasmimport handfast:policy/types@1.0.0 [method]connection.server-address
func connectionServerAddress(handle int32, to *[4]uint64)

//go:wasmimport handfast:policy/types@1.0.0 [method]connection.proxied
func connectionProxied(handle int32) int32

//go:wasmimport handfast:policy/types@1.0.0 [method]connection.proxy-tlvs
func connectionProxyTLVs(handle int32, to *[4]uint64)

//go:wasmimport handfast:policy/types@1.0.0 [method]client-hello.server-name
func helloServerName(handle int32, to *[4]uint64)

//go:wasmimport handfast:policy/types@1.0.0 [method]client-hello.alpn
func helloALPN(handle int32, to *[4]uint64)

//go:wasmimport handfast:policy/types@1.0.0 [method]client-hello.protocol-versions
func helloProtocolVersions(handle int32, to *[4]uint64)

//go:wasmimport handfast:policy/types@1.0.0 [method]client-hello.cipher-suites
func helloCipherSuites(handle int32, to *[4]uint64)

//go:wasmimport handfast:policy/types@1.0.0 [method]client-hello.signature-schemes
func helloSignatureSchemes(handle int32, to *[4]uint64)

//go:wasmimport handfast:policy/types@1.0.0 [method]client-hello.named-groups
func helloNamedGroups(handle int32, to *[4]uint64)

//go:wasmimport handfast:policy/types@1.0.0 [method]client-hello.extensions
func helloExtensions(handle int32, to *[4]uint64)

//go:wasmimport handfast:policy/types@1.0.0 [method]client-hello.ja3
func helloJA3(handle int32, to *[4]uint64)

//go:wasmimport handfast:policy/types@1.0.0 [method]client-hello.ja4
func helloJA4(handle int32, to *[4]uint64)

//go:wasmimport handfast:policy/types@1.0.0 [method]client-hello.raw
func helloRaw(handle int32, to *[4]uint64)

//go:wasmimport handfast:policy/types@1.0.0 [method]client-hello.offers-resumption
func helloOffersResumption(handle int32) int32

//go:wasmimport handfast:policy/types@1.0.0 [method]certificate.id
func certificateID(handle int32, to *[4]uint64)

//go:wasmimport handfast:policy/types@1.0.0 [method]certificate.names
func certificateNames(handle int32, to *[4]uint64)

//go:wasmimport handfast:policy/types@1.0.0 [method]certificate.key-algorithm
func certificateKeyAlgorithm(handle int32) int32

//go:wasmimport handfast:policy/types@1.0.0 [method]certificate.key-bits
func certificateKeyBits(handle int32) uint32

//go:wasmimport handfast:policy/types@1.0.0 [method]certificate.not-before
func certificateNotBefore(handle int32) int64

//go:wasmimport handfast:policy/types@1.0.0 [method]certificate.not-after
func certificateNotAfter(handle int32) int64

//go:wasmimport handfast:policy/types@1.0.0 [method]certificate.issuer
func certificateIssuer(handle int32, to *[4]uint64)

//go:wasmimport handfast:policy/types@1.0.0 [method]certificate.serial
func certificateSerial(handle int32, to *[4]uint64)

//go:wasmimport handfast:policy/types@1.0.0 [method]certificate.fingerprint
func certificateFingerprint(handle int32, to *[4]uint64)

//go:wasmimport handfast:policy/types@1.0.0 [method]certificate.der
func certificateDER(handle int32, to *[4]uint64)

//go:wasmimport handfast:policy/types@1.0.0 [method]certificate.tags
func certificateTags(handle int32, to *[4]uint64)

//go:wasmimport handfast:policy/types@1.0.0 [method]certificate.tag
func certificateTag(handle int32, key string, to *[4]uint64)

//go:wasmimport handfast:policy/types@1.0.0 [method]certificate.usable-by
func certificateUsableBy(handle, hello int32) int32

//go:wasmimport handfast:policy/types@1.0.0 [method]peer-certificate.subject
func peerSubject(handle int32, to *[4]uint64)

//go:wasmimport handfast:policy/types@1.0.0 [method]peer-certificate.issuer
func peerIssuer(handle int32, to *[4]uint64)

//go:wasmimport handfast:policy/types@1.0.0 [method]peer-certificate.serial
func peerSerial(handle int32, to *[4]uint64)

//go:wasmimport handfast:policy/types@1.0.0 [method]peer-certificate.fingerprint
func peerFingerprint(handle int32, to *[4]uint64)

//go:wasmimport handfast:policy/types@1.0.0 [method]peer-certificate.not-before
func peerNotBefore(handle int32) int64

//go:wasmimport handfast:policy/types@1.0.0 [method]peer-certificate.not-after
func peerNotAfter(handle int32) int64

//go:wasmimport handfast:policy/types@1.0.0 [method]peer-certificate.dns-names
func peerDNSNames(handle int32, to *[4]uint64)

//go:wasmimport handfast:policy/types@1.0.0 [method]peer-certificate.uris
func peerURIs(handle int32, to *[4]uint64)

//go:wasmimport handfast:policy/types@1.0.0 [method]peer-certificate.email-addresses
func peerEmailAddresses(handle int32, to *[4]uint64)

//go:wasmimport handfast:policy/types@1.0.0 [method]peer-certificate.organizational-units
func peerOrganizationalUnits(handle int32, to *[4]uint64)

//go:wasmimport handfast:policy/types@1.0.0 [method]peer-certificate.common-name
func peerCommonName(handle int32, to *[4]uint64)

//go:wasmimport handfast:policy/types@1.0.0 [method]peer-certificate.der
func peerDER(handle int32, to *[4]uint64)

//go:wasmimport handfast:policy/types@1.0.0 [method]peer-chain.length
func chainLength(handle int32) uint32

//go:wasmimport handfast:policy/types@1.0.0 [method]peer-chain.certificate
func chainCertificate(handle int32, index uint32, to *[4]uint64)

//go:wasmimport handfast:policy/types@1.0.0 [resource-drop]connection
func dropConnection(handle int32)

//go:wasmimport handfast:policy/types@1.0.0 [resource-drop]client-hello
func dropClientHello(handle int32)

//go:wasmimport handfast:policy/types@1.0.0 [resource-drop]certificate
func dropCertificate(handle int32)

//go:wasmimport handfast:policy/types@1.0.0 [resource-drop]peer-certificate
func dropPeerCertificate(handle int32)

//go:wasmimport handfast:policy/types@1.0.0 [resource-drop]peer-chain
func dropPeerChain(handle int32)

//go:wasmimport handfast:policy/certificates@1.0.0 find
func certificatesFind(name string, to *[4]uint64)

//go:wasmimport handfast:policy/certificates@1.0.0 by-id
func certificatesByID(id string, to *[4]uint64)

//go:wasmimport handfast:policy/certificates@1.0.0 tagged
func certificatesTagged(key, value string, to *[4]uint64)

//go:wasmimport handfast:policy/certificates@1.0.0 fallback
func certificatesFallback(to *[4]uint64)

//go:wasmimport handfast:policy/log@1.0.0 write
func logWrite(level int32, message string)

//go:wasmimport handfast:policy/random@1.0.0 bytes
func randomBytes(length uint32, to *[4]uint64)
