public import EspalierBasics
internal import EspalierExecution

/// Drops the largest outliers and the smallest part of every change (Davari and Belilovsky 2024).
public struct Breadcrumbs: DeltaMethod {
  public static let card = MethodCard(
    name: "breadcrumbs", summary: "Drops outliers and small changes, and adds the rest.",
    source: "davari2024breadcrumbs",
    parameters: DeltaCards.all(
      normalize: false, rescale: false,
      more: [DeltaCards.gamma]),
    notes: DeltaCards.breadcrumbsNotes)
  static let sparsification = Sparsification.magnitudeWithoutOutliers
  static let elects = false
  let core: DeltaMerge
}
