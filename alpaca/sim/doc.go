// Package sim is a broker in a box: Alpaca's Broker API as far as closing an account needs it, with a clock that can be
// pushed, accounts of any fate, and faults on request.
//
// Nothing happens in the background. Whatever time brings (fills, settlement, the journey of a transfer, a return) is
// worked out when an account is next touched, from its stored state and the business clock alone, in the order in
// which it fell due; so a simulator that was killed goes on as if it had been watching. Each accepted mutation stands
// in the journal, in the same transaction as the account's new state, before it is answered: the journal is what an
// auditor may believe.
//
// It is for tests and demos. It keeps no secret and guards nothing but its imitation of Basic auth.
package sim
