// Package handfast is for writing Handfast policies in Go.
//
// A policy is a WebAssembly component that the gateway asks about TLS handshakes. In Go it is a program whose init
// functions say what to call on which hook; the component exports the hooks whose packages it imports:
//
//	package main
//
//	import (
//		"github.com/handfast/handfast/plugins/sdk/go"
//		"github.com/handfast/handfast/plugins/sdk/go/onselect"
//	)
//
//	func init() {
//		onselect.Call(func(connection handfast.Connection, hello handfast.ClientHello) handfast.Decision {
//			if name, ok := hello.ServerName(); !ok || name == "internal.example" {
//				return handfast.Reject(handfast.UnrecognizedName).Because("not for the outside")
//			}
//			return handfast.Pass()
//		})
//	}
//
//	func main() {}
//
// What a hook is given, and the certificates it looks up, are valid until it returns. Strings and slices stay valid.
//
// A panic becomes a line in the log at error level, and ends the call without a verdict.
package handfast

import (
	"fmt"
	"net/netip"

	"github.com/handfast/handfast/plugins/sdk/go/internal/abi"
)

// Connection is the transport connection a handshake arrived on.
type Connection struct{ handle int32 }

// ClientHello is the ClientHello (RFC 8446 section 4.1.2) as the client sent it. Numbers are the code points of the TLS
// registries in wire order, GREASE (RFC 8701) included.
type ClientHello struct{ handle int32 }

// Certificate is one of the gateway's certificates. Its private key is never visible.
type Certificate struct{ handle int32 }

// PeerCertificate is a certificate that a client presented and the gateway has verified.
type PeerCertificate struct{ handle int32 }

// PeerChain is what is proven of the chain a client presented, leaf first.
type PeerChain struct{ handle int32 }

// TLV is a field of a PROXY version 2 header.
type TLV struct {
	Type  uint8
	Value []byte
}

// Tag is one that its source gave to a certificate.
type Tag struct{ Key, Value string }

// KeyAlgorithm is the kind of a certificate's key.
type KeyAlgorithm uint8

const (
	RSA KeyAlgorithm = iota
	ECDSAP256
	ECDSAP384
	ECDSAP521
	Ed25519
	OtherKey
)

func (algorithm KeyAlgorithm) String() string {
	names := [...]string{"rsa", "ecdsa-p256", "ecdsa-p384", "ecdsa-p521", "ed25519"}
	if int(algorithm) < len(names) {
		return names[algorithm]
	}
	return "other"
}

// Listener is the configured name of the listener that accepted the connection.
func (connection Connection) Listener() string {
	connectionListener(connection.handle, abi.Area())
	return abi.Result().String(0)
}

// ClientAddress is the client's: from the PROXY header where the listener trusts one, else the peer of the socket.
func (connection Connection) ClientAddress() netip.AddrPort {
	connectionClientAddress(connection.handle, abi.Area())
	return address()
}

// ServerAddress is the one the client connected to.
func (connection Connection) ServerAddress() netip.AddrPort {
	connectionServerAddress(connection.handle, abi.Area())
	return address()
}

// Proxied tells whether a PROXY header gave the addresses.
func (connection Connection) Proxied() bool {
	return connectionProxied(connection.handle) != 0
}

// ProxyTLVs are the fields of a PROXY version 2 header, in wire order; at most 64.
func (connection Connection) ProxyTLVs() []TLV {
	connectionProxyTLVs(connection.handle, abi.Area())
	return abi.List(abi.Result(), 12, func(at abi.At) TLV { return TLV{at.Byte(0), at.Bytes(4)} })
}

// ServerName is the name of the server_name extension, lower-cased A-labels; false without the extension.
func (hello ClientHello) ServerName() (string, bool) {
	helloServerName(hello.handle, abi.Area())
	return optional()
}

// ALPN is the protocol ids of the ALPN extension in the client's order.
func (hello ClientHello) ALPN() []string {
	helloALPN(hello.handle, abi.Area())
	return strings()
}

// ProtocolVersions is supported_versions; without that extension the one legacy version.
func (hello ClientHello) ProtocolVersions() []uint16 {
	helloProtocolVersions(hello.handle, abi.Area())
	return numbers()
}

// CipherSuites is in the client's order.
func (hello ClientHello) CipherSuites() []uint16 {
	helloCipherSuites(hello.handle, abi.Area())
	return numbers()
}

// SignatureSchemes is signature_algorithms.
func (hello ClientHello) SignatureSchemes() []uint16 {
	helloSignatureSchemes(hello.handle, abi.Area())
	return numbers()
}

// NamedGroups is supported_groups.
func (hello ClientHello) NamedGroups() []uint16 {
	helloNamedGroups(hello.handle, abi.Area())
	return numbers()
}

// Extensions is the type of every extension, in wire order.
func (hello ClientHello) Extensions() []uint16 {
	helloExtensions(hello.handle, abi.Area())
	return numbers()
}

// JA3 is 32 lower-case hexadecimal digits.
func (hello ClientHello) JA3() string {
	helloJA3(hello.handle, abi.Area())
	return abi.Result().String(0)
}

// JA4 is 36 characters.
func (hello ClientHello) JA4() string {
	helloJA4(hello.handle, abi.Area())
	return abi.Result().String(0)
}

// Raw is the handshake message with its four-byte header, without record headers; at most 64 KiB.
func (hello ClientHello) Raw() []byte {
	helloRaw(hello.handle, abi.Area())
	return abi.Result().Bytes(0)
}

// OffersResumption tells whether the client offers to resume a session.
func (hello ClientHello) OffersResumption() bool {
	return helloOffersResumption(hello.handle) != 0
}

// ID is what a verdict names the certificate by.
func (certificate Certificate) ID() string {
	certificateID(certificate.handle, abi.Area())
	return abi.Result().String(0)
}

// Names are the DNS names and IP addresses of the leaf.
func (certificate Certificate) Names() []string {
	certificateNames(certificate.handle, abi.Area())
	return strings()
}

func (certificate Certificate) KeyAlgorithm() KeyAlgorithm {
	return KeyAlgorithm(certificateKeyAlgorithm(certificate.handle))
}

// KeyBits is the size of the modulus for RSA, of the order of the curve for the others.
func (certificate Certificate) KeyBits() uint32 {
	return certificateKeyBits(certificate.handle)
}

// NotBefore is in seconds since 1970.
func (certificate Certificate) NotBefore() int64 {
	return certificateNotBefore(certificate.handle)
}

// NotAfter is in seconds since 1970.
func (certificate Certificate) NotAfter() int64 {
	return certificateNotAfter(certificate.handle)
}

// Issuer is a distinguished name in the form of RFC 4514.
func (certificate Certificate) Issuer() string {
	certificateIssuer(certificate.handle, abi.Area())
	return abi.Result().String(0)
}

// Serial is lower-case hexadecimal without leading zeros.
func (certificate Certificate) Serial() string {
	certificateSerial(certificate.handle, abi.Area())
	return abi.Result().String(0)
}

// Fingerprint is SHA-256 over the leaf's DER in lower-case hexadecimal.
func (certificate Certificate) Fingerprint() string {
	certificateFingerprint(certificate.handle, abi.Area())
	return abi.Result().String(0)
}

// DER is the leaf.
func (certificate Certificate) DER() []byte {
	certificateDER(certificate.handle, abi.Area())
	return abi.Result().Bytes(0)
}

// Tags are all that its source gave it, ordered by key.
func (certificate Certificate) Tags() []Tag {
	certificateTags(certificate.handle, abi.Area())
	return abi.List(abi.Result(), 16, func(at abi.At) Tag { return Tag{at.String(0), at.String(8)} })
}

// Tag is one tag; false where it has none of this key.
func (certificate Certificate) Tag(key string) (string, bool) {
	certificateTag(certificate.handle, key, abi.Area())
	return optional()
}

// UsableBy tells whether the client can verify it, and it is valid now.
func (certificate Certificate) UsableBy(hello ClientHello) bool {
	return certificateUsableBy(certificate.handle, hello.handle) != 0
}

// Subject is a distinguished name in the form of RFC 4514.
func (peer PeerCertificate) Subject() string {
	peerSubject(peer.handle, abi.Area())
	return abi.Result().String(0)
}

// Issuer is a distinguished name in the form of RFC 4514.
func (peer PeerCertificate) Issuer() string {
	peerIssuer(peer.handle, abi.Area())
	return abi.Result().String(0)
}

// Serial is lower-case hexadecimal without leading zeros.
func (peer PeerCertificate) Serial() string {
	peerSerial(peer.handle, abi.Area())
	return abi.Result().String(0)
}

// Fingerprint is SHA-256 over the DER in lower-case hexadecimal.
func (peer PeerCertificate) Fingerprint() string {
	peerFingerprint(peer.handle, abi.Area())
	return abi.Result().String(0)
}

// NotBefore is in seconds since 1970.
func (peer PeerCertificate) NotBefore() int64 {
	return peerNotBefore(peer.handle)
}

// NotAfter is in seconds since 1970.
func (peer PeerCertificate) NotAfter() int64 {
	return peerNotAfter(peer.handle)
}

// DNSNames are the subject alternative names of that type, in order.
func (peer PeerCertificate) DNSNames() []string {
	peerDNSNames(peer.handle, abi.Area())
	return strings()
}

// URIs are the subject alternative names of that type, SPIFFE ids among them.
func (peer PeerCertificate) URIs() []string {
	peerURIs(peer.handle, abi.Area())
	return strings()
}

// EmailAddresses are the subject alternative names of type rfc822Name.
func (peer PeerCertificate) EmailAddresses() []string {
	peerEmailAddresses(peer.handle, abi.Area())
	return strings()
}

// OrganizationalUnits are the subject's OUs, in order.
func (peer PeerCertificate) OrganizationalUnits() []string {
	peerOrganizationalUnits(peer.handle, abi.Area())
	return strings()
}

// CommonName is the subject's, the last where there are several.
func (peer PeerCertificate) CommonName() (string, bool) {
	peerCommonName(peer.handle, abi.Area())
	return optional()
}

// DER is the certificate.
func (peer PeerCertificate) DER() []byte {
	peerDER(peer.handle, abi.Area())
	return abi.Result().Bytes(0)
}

// Length is how many certificates: at least 1, the leaf.
func (chain PeerChain) Length() int {
	return int(chainLength(chain.handle))
}

// Certificate is the one at a position; 0 is the leaf.
func (chain PeerChain) Certificate(index int) (PeerCertificate, bool) {
	chainCertificate(chain.handle, uint32(index), abi.Area())
	handle, ok := optionalHandle(dropPeerCertificate)
	return PeerCertificate{handle}, ok
}

// Leaf is the certificate of the client itself.
func (chain PeerChain) Leaf() PeerCertificate {
	leaf, ok := chain.Certificate(0)
	if !ok {
		panic("a chain without a leaf")
	}
	return leaf
}

// FindCertificates gives those for a DNS name: exact names before wildcards, the latest first; at most 64.
func FindCertificates(name string) []Certificate {
	certificatesFind(name, abi.Area())
	return certificates()
}

// CertificateByID gives the one of this id.
func CertificateByID(id string) (Certificate, bool) {
	certificatesByID(id, abi.Area())
	handle, ok := optionalHandle(dropCertificate)
	return Certificate{handle}, ok
}

// TaggedCertificates gives those with this tag, ordered by id; at most 64.
func TaggedCertificates(key, value string) []Certificate {
	certificatesTagged(key, value, abi.Area())
	return certificates()
}

// FallbackCertificate gives the listener's default.
func FallbackCertificate() (Certificate, bool) {
	certificatesFallback(abi.Area())
	handle, ok := optionalHandle(dropCertificate)
	return Certificate{handle}, ok
}

// Level is that of a line in the log.
type Level int32

const (
	Trace Level = iota
	Debug
	Info
	Warn
	Error
)

// Log writes a line to the gateway's log under the policy's name. At most 1,024 bytes are kept, and 16 lines a call.
func Log(level Level, message string) {
	logWrite(int32(level), message)
}

// Logf formats as fmt.Sprintf does.
func Logf(level Level, format string, arguments ...any) {
	Log(level, fmt.Sprintf(format, arguments...))
}

// Random gives randomness of the gateway's operating system; at most 4,096 bytes. crypto/rand and the seeds of maps
// draw from the same source.
func Random(length int) []byte {
	randomBytes(uint32(length), abi.Area())
	return abi.Result().Bytes(0)
}

func address() netip.AddrPort {
	at := abi.Result()
	port := at.Short(18)
	if at.Byte(0) == 0 {
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte{at.Byte(2), at.Byte(3), at.Byte(4), at.Byte(5)}), port)
	}
	var bytes [16]byte
	for group := range uintptr(8) {
		value := at.Short(2 + 2*group)
		bytes[2*group], bytes[2*group+1] = byte(value>>8), byte(value)
	}
	return netip.AddrPortFrom(netip.AddrFrom16(bytes), port)
}

func optional() (string, bool) {
	at := abi.Result()
	if at.Byte(0) == 0 {
		return "", false
	}
	return at.String(4), true
}

func strings() []string {
	return abi.List(abi.Result(), 8, func(at abi.At) string { return at.String(0) })
}

func numbers() []uint16 {
	return abi.List(abi.Result(), 2, func(at abi.At) uint16 { return at.Short(0) })
}

func certificates() []Certificate {
	return abi.List(abi.Result(), 4, func(at abi.At) Certificate {
		return Certificate{own(int32(at.Word(0)), dropCertificate)}
	})
}

func optionalHandle(drop func(int32)) (int32, bool) {
	at := abi.Result()
	if at.Byte(0) == 0 {
		return 0, false
	}
	return own(int32(at.Word(4)), drop), true
}
