public import EspalierBasics
internal import EspalierExecution

/// As ``Breadcrumbs``, with the sign consensus of ``Ties``.
public struct BreadcrumbsTies: DeltaMethod {
  public static let card = MethodCard(
    name: "breadcrumbs_ties", summary: "Drops outliers and small changes, and merges the rest where signs agree.",
    source: "davari2024breadcrumbs",
    parameters: DeltaCards.all(
      normalize: false, rescale: false,
      more: [DeltaCards.gamma]),
    notes: DeltaCards.breadcrumbsNotes)
  static let sparsification = Sparsification.magnitudeWithoutOutliers
  static let elects = true
  let core: DeltaMerge
}
