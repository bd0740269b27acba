"""Independent oracles: the formulas of the metrics transcribed literally, with loops, in float64 and in 50 digits."""

import itertools

import mpmath
import numpy as np
import torch
from mpmath import mp

ALL_BUT_NC4 = (
    "nc0",
    "nc1_pinv",
    "nc1_ratio",
    "nc1_cdnv",
    "nc1_distance",
    "nc2_norm_means",
    "nc2_norm_classifier",
    "nc2_norm_classifier_centered",
    "nc2_angle_means",
    "nc2_angle_classifier",
    "nc2_angle_classifier_centered",
    "nc2_etf_means",
    "nc2_etf_classifier",
    "nc2_etf_classifier_centered",
    "nc3_difference",
    "nc3_duality",
    "nc3_product",
)


def literal(W, H, labels, bias=None, center="classes"):
    """Every metric of one replica, numpy float64, with np.linalg.pinv."""
    W, H, labels = (np.asarray(x, dtype) for x, dtype in ((W, float), (H, float), (labels, int)))
    K, N = len(W), H.shape[1]
    mu = [H[:, labels == k].mean(1) for k in range(K)]
    mu_G = H.mean(1) if center == "samples" else sum(mu) / K
    M = np.stack([m - mu_G for m in mu], axis=1)
    sigma_W = sum(np.outer(H[:, i] - mu[labels[i]], H[:, i] - mu[labels[i]]) for i in range(N)) / N
    sigma_B = sum(np.outer(M[:, k], M[:, k]) for k in range(K)) / K
    v = [np.mean([np.sum((H[:, i] - mu[k]) ** 2) for i in range(N) if labels[i] == k]) for k in range(K)]
    E = (np.eye(K) - np.ones((K, K)) / K) / np.sqrt(K - 1)
    norm = np.linalg.norm

    def variation(vectors):
        norms = [norm(x) for x in vectors]
        mean = sum(norms) / K
        return np.sqrt(sum((x - mean) ** 2 for x in norms) / (K - 1)) / mean

    def angle(vectors):
        pairs = itertools.permutations(vectors, 2)
        return np.mean([abs(x @ y / norm(x) / norm(y) + 1 / (K - 1)) for x, y in pairs])

    def etf(G):
        return norm(G / norm(G) - E)

    # Plain distances of single samples, and rows about their mean: the definitions of the paper, written out.
    grand_mean = sum(H[:, i] for i in range(N)) / N
    within = sum(norm(H[:, i] - mu[labels[i]]) for i in range(N)) / N
    total = sum(norm(H[:, i] - grand_mean) for i in range(N)) / N
    row_mean = sum(W[k] for k in range(K)) / K
    rows = np.stack([W[k] - row_mean for k in range(K)])
    duality = sum(norm(M[:, k] / norm(M[:, k]) - rows[k] / norm(rows[k])) for k in range(K)) / K

    mismatches = 0
    for i in range(N):
        nearest = min(range(K), key=lambda k: norm(H[:, i] - mu[k]))
        mismatches += nearest != np.argmax(W @ H[:, i] + (0 if bias is None else np.asarray(bias)))
    pairs = list(itertools.combinations(range(K), 2))
    return {
        "nc0": norm(W.sum(0)) / norm(W),
        "nc1_pinv": np.trace(sigma_W @ np.linalg.pinv(sigma_B, rcond=1e-12)) / K,
        "nc1_ratio": np.trace(sigma_W) / np.trace(sigma_B),
        "nc1_cdnv": np.mean([(v[j] + v[k]) / (2 * norm(mu[j] - mu[k]) ** 2) for j, k in pairs]),
        "nc1_distance": within / total,
        "nc2_norm_classifier_centered": variation(rows),
        "nc2_angle_classifier_centered": angle(rows),
        "nc2_etf_classifier_centered": etf(rows @ rows.T),
        "nc3_duality": duality,
        "nc2_norm_means": variation(M.T),
        "nc2_norm_classifier": variation(W),
        "nc2_angle_means": angle(M.T),
        "nc2_angle_classifier": angle(W),
        "nc2_etf_means": etf(M.T @ M),
        "nc2_etf_classifier": etf(W @ W.T),
        "nc3_difference": norm(W.T / norm(W) - M / norm(M)),
        "nc3_product": etf(W @ M),
        "nc4_mismatch": mismatches / N,
    }


def exact(W, H, labels, center="classes"):
    """Every metric but nc4_mismatch of one replica in 50 digits; small sizes, class means of rank K − 1."""
    with mp.workdps(50):
        W, H = (mp.matrix([[mp.mpf(float(x)) for x in row] for row in a]) for a in (W, H))
        labels = [int(y) for y in labels]
        K, d, N = W.rows, H.rows, H.cols
        mu = mp.zeros(d, K)
        for k in range(K):
            members = [i for i in range(N) if labels[i] == k]
            for a in range(d):
                mu[a, k] = mp.fsum(H[a, i] for i in members) / len(members)
        ones = mp.ones(N, 1) / N
        mu_G = H * ones if center == "samples" else mu * (mp.ones(K, 1) / K)
        M = mu - mu_G * mp.ones(1, K)
        deviations = mp.matrix([[H[a, i] - mu[a, labels[i]] for i in range(N)] for a in range(d)])
        squares = [mp.fsum(deviations[a, i] ** 2 for a in range(d)) for i in range(N)]
        v = [mp.fsum(squares[i] for i in range(N) if labels[i] == k) / labels.count(k) for k in range(K)]
        E = (mp.eye(K) - mp.ones(K, K) / K) / mp.sqrt(K - 1)
        eigenvalues, Q = mp.eigsy(M * M.T / K)
        along = deviations.T * Q
        pinv_trace = mp.fsum(
            mp.fsum(along[i, r] ** 2 for i in range(N)) / N / eigenvalues[r]
            for r in range(d)
            if eigenvalues[r] > mp.mpf(10) ** -35 * max(eigenvalues)
        )
        frobenius = mp.norm

        def columns(A):
            return [A[:, k] for k in range(A.cols)]

        def dot(x, y):
            return mp.fsum(a * b for a, b in zip(x, y, strict=True))

        def variation(A):
            norms = [mp.sqrt(dot(x, x)) for x in columns(A)]
            mean = mp.fsum(norms) / K
            return mp.sqrt(mp.fsum((x - mean) ** 2 for x in norms) / (K - 1)) / mean

        def angle(A):
            pairs = list(itertools.permutations(columns(A), 2))
            return mp.fsum(
                abs(dot(x, y) / mp.sqrt(dot(x, x) * dot(y, y)) + mp.mpf(1) / (K - 1)) for x, y in pairs
            ) / len(pairs)

        def etf(G):
            return frobenius(G / frobenius(G) - E)

        rows = W - mp.ones(K, 1) * (mp.ones(1, K) / K * W)
        grand_mean = H * (mp.ones(N, 1) / N)
        total = mp.fsum(frobenius(H[:, i] - grand_mean) for i in range(N))
        duality = [M[:, k] / frobenius(M[:, k]) - rows[k, :].T / frobenius(rows[k, :]) for k in range(K)]
        pairs = list(itertools.combinations(range(K), 2))
        gaps = {(j, k): dot(mu[:, j] - mu[:, k], mu[:, j] - mu[:, k]) for j, k in pairs}
        values = {
            "nc0": frobenius(W.T * mp.ones(K, 1)) / frobenius(W),
            "nc1_pinv": pinv_trace / K,
            "nc1_ratio": mp.fsum(squares) / N / (frobenius(M) ** 2 / K),
            "nc1_cdnv": mp.fsum((v[j] + v[k]) / (2 * gaps[j, k]) for j, k in pairs) / len(pairs),
            "nc1_distance": mp.fsum(mp.sqrt(square) for square in squares) / total,
            "nc2_norm_classifier_centered": variation(rows.T),
            "nc2_angle_classifier_centered": angle(rows.T),
            "nc2_etf_classifier_centered": etf(rows * rows.T),
            "nc3_duality": mp.fsum(frobenius(difference) for difference in duality) / K,
            "nc2_norm_means": variation(M),
            "nc2_norm_classifier": variation(W.T),
            "nc2_angle_means": angle(M),
            "nc2_angle_classifier": angle(W.T),
            "nc2_etf_means": etf(M.T * M),
            "nc2_etf_classifier": etf(W * W.T),
            "nc3_difference": frobenius(W.T / frobenius(W) - M / frobenius(M)),
            "nc3_product": etf(W * M),
        }
        return {key: mpmath.mpf(value) for key, value in values.items()}


def samples(seed, counts, d, collapse=1.0, norm=1.0, replicas=(), offset=0.0):
    """Random W, H and shuffled labels; class means of size ``norm``, within-class deviations of size norm·collapse."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.repeat(np.arange(len(counts)), counts))
    means = norm * rng.standard_normal((*replicas, d, len(counts))) / np.sqrt(d)
    noise = collapse * norm * rng.standard_normal((*replicas, d, len(labels))) / np.sqrt(d)
    W = rng.standard_normal((*replicas, len(counts), d))
    return torch.tensor(W), torch.tensor(means[..., labels] + noise + offset), torch.tensor(labels)


def relative_errors(values, reference, keys=None):
    """Of ``keys``, or of all that are in ``values`` and have an exact value."""
    keys = keys or [key for key in ALL_BUT_NC4 if key in values]
    return {key: float(abs(mpmath.mpf(float(values[key])) - reference[key]) / abs(reference[key])) for key in keys}


def assert_close(values, reference, rtol, atol=0.0):
    """Compare two dicts of metrics key by key, with the keys in the message."""
    assert set(values) == set(reference)
    for key in values:
        got, want = (torch.as_tensor(x[key], dtype=torch.float64) for x in (values, reference))
        torch.testing.assert_close(got, want, rtol=rtol, atol=atol, msg=lambda text, key=key: f"{key}: {text}")
