public import EspalierBasics
internal import EspalierExecution

/// Drops small changes of a row with higher probability than large ones, then elects signs (Deep et al. 2024).
public struct Della: DeltaMethod {
  public static let card = MethodCard(
    name: "della", summary: "Drops changes at random, small ones more often, and merges those that agree in sign.",
    source: "deep2024della",
    parameters: DeltaCards.all(
      normalize: true, rescale: true,
      more: [
        ParameterCard(
          "epsilon", .number(0...1), scope: .nonBase, default: .number(0.15),
          "Half the spread of the keep probabilities around the density.")
      ]),
    notes:
      "Rows are those of the tensor with its first dimension as rows; a vector is one row. rescale: true is one factor a tensor, as in mergekit, which is biased toward large changes; inverse_density divides each element by its own probability, as published. A row of one element is kept with the density."
  )
  static let sparsification = Sparsification.randomByRank
  static let elects = true
  let core: DeltaMerge
}
