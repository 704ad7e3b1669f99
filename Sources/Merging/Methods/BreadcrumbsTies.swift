public import EspalierBasics
internal import EspalierExecution

/// As ``Breadcrumbs``, with the sign consensus of ``Ties``.
public struct BreadcrumbsTies: DeltaMethod {
  public static let card = MethodCard(
    name: "breadcrumbs_ties", summary: "Drops outliers and small changes, and merges the rest where signs agree.",
    source: "davari2024breadcrumbs",
    parameters: DeltaCards.all(
      normalize: false, rescale: false,
      more: [
        ParameterCard(
          "gamma", .number(0...1), scope: .nonBase, default: .number(0.01),
          "Share of largest changes that is dropped.")
      ]),
    notes:
      "If density + gamma exceeds 1, fewer outliers are dropped, so that the density is kept, as in mergekit. Among equal magnitudes the first by index count as smaller."
  )
  static let sparsification = Sparsification.magnitudeWithoutOutliers
  static let elects = true
  let core: DeltaMerge
}
