public import EspalierBasics
internal import EspalierCheckpoints

extension Problem.Code {
  public static let inputChanged = Problem.Code("input.changed")
}

/// What files a run reads, as its fingerprint has them: the run can be continued only with the same ones, and is worth
/// nothing if one was changed on the way.
enum InputIdentities {
  /// Members of a fingerprint, by path.
  static func members(_ paths: some Sequence<String>) throws(Problem) -> [(String, JSON)] {
    var members: [(String, JSON)] = []
    for path in Set(paths).sorted() {
      let identity = try WeightFile.identity(path)
      members.append(
        (
          "input \(path)",
          [
            "size": .number(identity.size), "modified": .number(identity.modifiedNanoseconds),
            "changed": .number(identity.changedNanoseconds),
          ]
        ))
    }
    return members
  }

  /// - Throws: `input.changed` for a file that is another than when the run began.
  static func requireUnchanged(_ paths: some Sequence<String>, since begun: JSON) throws(Problem) {
    for path in Set(paths).sorted() {
      let (before, identity) = (begun["input \(path)"], try WeightFile.identity(path))
      guard before?["size"] == .number(identity.size), before?["modified"] == .number(identity.modifiedNanoseconds)
      else {
        throw Problem(
          .inputChanged, "the input was changed while it was being read",
          remedy: "Start over with --force when the input is complete.", file: path)
      }
    }
  }
}
