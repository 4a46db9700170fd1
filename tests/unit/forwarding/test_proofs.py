"""The proofs of a link: valid once, for one end, between two processes, with the secret only."""

from __future__ import annotations

from realtime.forwarding.proofs import ACCEPTS, CONNECTS, NONCE_SIZE, is_valid, new_nonce, proof

NAMES = ("one", "other")


def test_a_proof_is_valid_for_its_own_purpose_only() -> None:
	nonces = (new_nonce(), new_nonce())
	assert all(len(nonce) == NONCE_SIZE for nonce in nonces)
	made = proof("secret", CONNECTS, NAMES, nonces)
	assert is_valid(made, "secret", CONNECTS, NAMES, nonces)
	assert not is_valid(made, "another secret", CONNECTS, NAMES, nonces)
	assert not is_valid(made, "secret", ACCEPTS, NAMES, nonces), "sent back to the end that has made it"
	assert not is_valid(made, "secret", CONNECTS, ("other", "one"), nonces)
	assert not is_valid(made, "secret", CONNECTS, ("one", "third"), nonces)
	assert not is_valid(made, "secret", CONNECTS, NAMES, (nonces[0], new_nonce())), "sent a second time"


def test_an_empty_secret_proves_nothing() -> None:
	nonces = (new_nonce(), new_nonce())
	assert not is_valid(proof("", CONNECTS, NAMES, nonces), "", CONNECTS, NAMES, nonces)
