internal import EspalierBasics
internal import EspalierExecution

/// `NAME.fit`: where models are written that are only measured, and the effects found so far.
///
/// A mark tells the folder to be ours; another one is neither written to nor removed.
struct FitScratch {
  let folder: String

  private static let markName = "espalier-fit.json"

  init(beside output: String) {
    folder = QuantizationPlan.reportPath(of: output).dropLast(".report".count) + ".fit"
  }

  private var isOurs: Bool { FileSystem.isFile("\(folder)/\(Self.markName)") }

  /// What stands in the way of measuring, found without touching anything.
  func obstacles(policy: OutputFolder.Policy) -> [Problem] {
    guard FileSystem.kind(folder) != nil else { return [] }
    if !isOurs {
      return [
        Problem(
          .outputPartial, "there is something that was not written by espalier, where types are measured",
          remedy: "Choose another name for the output, or remove it yourself.", file: folder)
      ]
    }
    guard !policy.resume, !policy.force else { return [] }
    return [
      Problem(
        .outputPartial, "what an earlier, unfinished run has measured is there",
        remedy: "Continue it with --resume, or start over with --force.", file: folder)
    ]
  }

  /// Makes the folder, or continues it; without `resume` it is emptied.
  ///
  /// - Throws: ``obstacles(policy:)``.
  func open(policy: OutputFolder.Policy) throws(Problem) {
    if let problem = obstacles(policy: policy).first { throw problem }
    if !policy.resume { try remove() }
    guard FileSystem.kind(folder) == nil else { return }
    try FileSystem.createParents(of: folder)
    try FileSystem.createFolder(folder)
    let mark: JSON = ["espalier_fit": 1]
    try FileSystem.write(mark.bytes(), to: "\(folder)/\(Self.markName)")
  }

  /// Removes the folder if it is ours; the mark goes last, so that an interrupted removal can be continued.
  func remove() throws(Problem) {
    guard isOurs else { return }
    for name in try FileSystem.list(folder) where name != Self.markName { try FileSystem.remove("\(folder)/\(name)") }
    try FileSystem.remove(folder)
  }
}
