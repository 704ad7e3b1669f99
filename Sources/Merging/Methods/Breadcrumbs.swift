public import EspalierBasics
internal import EspalierExecution

/// Drops the largest outliers and the smallest part of every change (Davari and Belilovsky 2024).
public struct Breadcrumbs: DeltaMethod {
  public static let card = MethodCard(
    name: "breadcrumbs", summary: "Drops outliers and small changes, and adds the rest.",
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
  static let elects = false
  let core: DeltaMerge
}
