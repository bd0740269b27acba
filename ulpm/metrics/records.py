"""Every metric as one record. A new one is a file that makes its record, and a line in ``RECORDS``.

Whatever is recorded, tabled, drawn and saved comes from here. A metric without a law (``ulpm.laws``) is drawn without
one, and one without a floor of its own has that of the tolerance, 3 rtol (``ulpm.floors``).
"""

from ulpm.metrics.metric import Metric

__all__ = ["METRICS", "RECORDS"]


# In the order in which tables show them.
RECORDS: tuple[Metric, ...] = (
    Metric("nc0", r"$\Vert\sum{}_k\, w_k\Vert\,/\,\Vert W\Vert$", lambda f: f.classifier_sum),
    Metric("nc1_pinv", r"$\mathrm{tr}(\Sigma_W\Sigma_B^\dagger)\,/\,K$", lambda f: f.pinv_trace),
    Metric("nc1_ratio", r"$\mathrm{tr}\,\Sigma_W\,/\,\mathrm{tr}\,\Sigma_B$", lambda f: f.trace_ratio),
    Metric("nc1_cdnv", r"mean $(v_j+v_k)\,/\,2\Vert\mu_j-\mu_k\Vert^2$", lambda f: f.distance_normalised_variance),
    Metric("nc1_distance", r"mean $\Vert h-\mu_y\Vert$ / mean $\Vert h-\bar h\Vert$"),
    Metric("nc2_norm_means", r"std / mean of $\Vert\mu_k-\mu_G\Vert$", lambda f: f.variations[0]),
    Metric("nc2_norm_classifier", r"std / mean of $\Vert w_k\Vert$", lambda f: f.variations[1]),
    Metric("nc2_norm_classifier_centered", r"std / mean of $\Vert\bar w_k\Vert$", lambda f: f.variations[2]),
    Metric("nc2_angle_means", r"mean $|\cos(\mu_j,\mu_k)+1/(K-1)|$", lambda f: f.angles[0]),
    Metric("nc2_angle_classifier", r"mean $|\cos(w_j,w_k)+1/(K-1)|$", lambda f: f.angles[1]),
    Metric("nc2_angle_classifier_centered", r"mean $|\cos(\bar w_j,\bar w_k)+1/(K-1)|$", lambda f: f.angles[2]),
    Metric("nc2_etf_means", r"$\Vert G/\Vert G\Vert-E\,\Vert,\ G=M^\top M$", lambda f: f.distances[0]),
    Metric("nc2_etf_classifier", r"$\Vert G/\Vert G\Vert-E\,\Vert,\ G=WW^\top$", lambda f: f.distances[1]),
    Metric(
        "nc2_etf_classifier_centered",
        r"$\Vert G/\Vert G\Vert-E\,\Vert,\ G=\bar W\bar W^\top$",
        lambda f: f.distances[2],
    ),
    Metric("nc3_difference", r"$\Vert W^\top\!/\Vert W\Vert-M/\Vert M\Vert\,\Vert$", lambda f: f.self_difference),
    Metric("nc3_duality", r"mean $\Vert m_k/\Vert m_k\Vert-\bar w_k/\Vert\bar w_k\Vert\,\Vert$", lambda f: f.duality),
    Metric("nc3_product", r"$\Vert WM/\Vert WM\Vert-E\,\Vert$", lambda f: f.distances[3]),
    Metric("nc4_mismatch", "share of samples"),
)
METRICS = tuple(record.key for record in RECORDS)
