package handfast

import "github.com/handfast/handfast/plugins/sdk/go/internal/abi"

// Alert is a TLS alert description by its number in the registry (RFC 8446 section 6). Others than these are allowed, but 0.
type Alert uint8

const (
	UnexpectedMessage            Alert = 10
	HandshakeFailure             Alert = 40
	BadCertificate               Alert = 42
	UnsupportedCertificate       Alert = 43
	CertificateRevoked           Alert = 44
	CertificateExpired           Alert = 45
	CertificateUnknown           Alert = 46
	IllegalParameter             Alert = 47
	UnknownCA                    Alert = 48
	AccessDenied                 Alert = 49
	DecodeError                  Alert = 50
	DecryptError                 Alert = 51
	ProtocolVersion              Alert = 70
	InsufficientSecurity         Alert = 71
	InternalError                Alert = 80
	InappropriateFallback        Alert = 86
	UserCanceled                 Alert = 90
	MissingExtension             Alert = 109
	UnsupportedExtension         Alert = 110
	UnrecognizedName             Alert = 112
	BadCertificateStatusResponse Alert = 113
	UnknownPSKIdentity           Alert = 115
	CertificateRequired          Alert = 116
	NoApplicationProtocol        Alert = 120
)

// The cases of the interface's variant, in its order; behind them is `other`.
var alertCases = [...]Alert{
	10, 40, 42, 43, 44, 45, 46, 47, 48, 49, 50, 51, 70, 71, 80, 86, 90, 109, 110, 112, 113, 115, 116, 120,
}

func (alert Alert) write(answer *abi.Answer, offset uintptr) {
	for which, known := range alertCases {
		if alert == known {
			answer.Byte(offset, uint8(which))
			return
		}
	}
	answer.Byte(offset, uint8(len(alertCases)))
	answer.Byte(offset+1, uint8(alert))
}

// Decision is what a select hook answers.
type Decision struct {
	// The case of the interface's variant.
	verdict uint8
	text    string
	alert   Alert
	reason  string
}

// Pass is no opinion: the next policy decides.
func Pass() Decision { return Decision{verdict: 0} }

// Answer is with this certificate.
func Answer(certificate Certificate) Decision { return AnswerWithID(certificate.ID()) }

// AnswerWithID is with the certificate of this id.
func AnswerWithID(id string) Decision { return Decision{verdict: 1, text: id} }

// Reject ends the handshake with this alert.
func Reject(alert Alert) Decision { return Decision{verdict: 2, alert: alert} }

// Drop closes the connection without an answer.
func Drop() Decision { return Decision{verdict: 3} }

// Passthrough does not terminate TLS: the bytes are relayed to the upstream of this name.
func Passthrough(upstream string) Decision { return Decision{verdict: 4, text: upstream} }

// Because adds the reason, for the decision log. At most 256 bytes are kept.
func (decision Decision) Because(reason string) Decision {
	decision.reason = reason
	return decision
}

// Write places the decision as the interface lays it out.
func (decision Decision) Write(answer *abi.Answer) {
	answer.Byte(0, decision.verdict)
	switch decision.verdict {
	case 1, 4:
		answer.String(4, decision.text)
	case 2:
		decision.alert.write(answer, 4)
	}
	writeReason(answer, 12, decision.reason)
}

// Attribute is a fact about the client: the upstream gets it as the request header x-client-<Name>.
type Attribute struct{ Name, Value string }

// Rejection is the error of a validate hook that turns a client away.
type Rejection struct {
	Alert Alert
	// For the decision log. At most 256 bytes are kept.
	Reason string
}

func (rejection Rejection) Error() string { return rejection.Reason }

// Write places the rejection as the interface lays it out.
func (rejection Rejection) Write(answer *abi.Answer, offset uintptr) {
	rejection.Alert.write(answer, offset)
	writeReason(answer, offset+4, rejection.Reason)
}

func writeReason(answer *abi.Answer, offset uintptr, reason string) {
	if reason != "" {
		answer.Byte(offset, 1)
		answer.String(offset+4, reason)
	}
}
